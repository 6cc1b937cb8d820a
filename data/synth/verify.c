#include "data/synth/verify.h"

#include "data/synth/item.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_WORDS = 40 };

static bool is_word(char c) { return isalnum((unsigned char)c) != 0; }

/* The next place at or after `at` where `phrase` stands as whole words; NULL without one. */
static const char *find(const char *at, const char *text, const char *phrase) {
  size_t n = strlen(phrase);
  for (; n > 0 && *at != '\0'; at++)
    if (strncasecmp(at, phrase, n) == 0 && (at == text || !is_word(at[-1])) && !is_word(at[n]))
      return at;
  return NULL;
}

static bool has(const char *text, const char *phrase) { return find(text, text, phrase) != NULL; }

static int count_words(const char *text) {
  int n = 0;
  for (const char *p = text; *p != '\0'; p++)
    n += is_word(*p) && (p == text || !is_word(p[-1]));
  return n;
}

static const char *string(const json_t *gold, const char *key) {
  const char *s = json_string_value(json_object_get(gold, key));
  return s == NULL ? "" : s;
}

static double check_choice(const json_t *gold, const char *reply) {
  const json_t *others = json_object_get(gold, "others");
  for (size_t i = 0; i < json_array_size(others); i++) {
    const char *other = json_string_value(json_array_get(others, i));
    if (other != NULL && has(reply, other))
      return 0;
  }
  return has(reply, string(gold, "answer")) ? 1 : 0;
}

static double check_number(const json_t *gold, const char *reply) {
  json_int_t answer = json_integer_value(json_object_get(gold, "answer"));
  const json_t *given = json_object_get(gold, "given");
  bool found = false;
  for (const char *p = reply; *p != '\0';) {
    if (!isdigit((unsigned char)*p)) {
      p++;
      continue;
    }
    char *end;
    long long n = strtoll(p, &end, 10);
    p = end;
    bool allowed = n == answer;
    found = found || allowed;
    for (size_t i = 0; i < json_array_size(given); i++)
      allowed = allowed || n == json_integer_value(json_array_get(given, i));
    if (!allowed)
      return 0;
  }
  return found ? 1 : 0;
}

static double check_objects(const json_t *gold, const char *reply) {
  const json_t *present = json_object_get(gold, "present");
  json_int_t need = json_integer_value(json_object_get(gold, "need"));
  int right = 0, wrong = 0;
  for (int c = 0; c < LRL_SYNTH_COLOURS; c++)
    for (int s = 0; s < LRL_SHAPE_COUNT; s++) {
      char name[64];
      bool there = false;
      snprintf(name, sizeof name, "%s %s", lrl_synth_colour_names[c], lrl_synth_shape_names[s]);
      for (size_t i = 0; i < json_array_size(present); i++) {
        const char *other = json_string_value(json_array_get(present, i));
        there = there || (other != NULL && strcmp(other, name) == 0);
      }
      if (has(reply, name))
        there ? right++ : wrong++;
    }
  right = right > need ? (int)need : right;
  return need < 1 || right <= wrong ? 0 : (double)(right - wrong) / (double)need;
}

/* Letters that are / are not capitals, the first one not counted. */
static void count_case(const char *reply, int *upper, int *lower) {
  *upper = *lower = 0;
  bool first = true;
  for (const char *p = reply; *p != '\0'; p++) {
    if (!isalpha((unsigned char)*p))
      continue;
    if (!first)
      *(isupper((unsigned char)*p) ? upper : lower) += 1;
    first = false;
  }
}

static bool follows(const char *rule, const char *argument, const char *reply) {
  size_t n = strlen(reply), m = strlen(argument);
  int upper, lower, words = count_words(reply);
  while (n > 0 && isspace((unsigned char)reply[n - 1]))
    n--;
  while (n > 0 && isspace((unsigned char)*reply)) {
    reply++;
    n--;
  }
  count_case(reply, &upper, &lower);
  if (strcmp(rule, "none") == 0)
    return true;
  if (strcmp(rule, "max_words") == 0)
    return words > 0 && words <= atoi(argument);
  if (strcmp(rule, "min_words") == 0)
    return words >= atoi(argument);
  if (strcmp(rule, "upper") == 0)
    return upper > 0 && lower == 0;
  if (strcmp(rule, "lower") == 0)
    return lower > 0 && upper == 0;
  if (strcmp(rule, "ends_with") == 0)
    return n >= m && m > 0 && strncmp(reply + n - m, argument, m) == 0;
  if (strcmp(rule, "starts_with") == 0)
    return n >= m && m > 0 && strncasecmp(reply, argument, m) == 0 && !is_word(reply[m]);
  bool list = strchr(reply, ':') != NULL && strchr(strchr(reply, ':'), ',') != NULL;
  if (strcmp(rule, "list") == 0)
    return list;
  return strcmp(rule, "sentence") == 0 && words > 2 && !list;
}

static double check_format(const json_t *gold, const char *reply) {
  double topic = has(reply, string(gold, "topic")) ? 0.5 : 0;
  return topic + (follows(string(gold, "rule"), string(gold, "argument"), reply) ? 0.5 : 0);
}

static const struct {
  const char *name;
  double (*check)(const json_t *gold, const char *reply);
} checks[] = {{"choice", check_choice},
              {"number", check_number},
              {"objects", check_objects},
              {"format", check_format}};

lrl_status lrl_synth_verify(const char *gold, const char *reply, bool ended, double *reward) {
  json_error_t e;
  json_t *g = json_loads(gold, 0, &e);
  if (g == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "a gold record is not JSON: %s", e.text);
  const char *name = string(g, "check");
  bool known = false;
  for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
    if (strcmp(checks[i].name, name) == 0) {
      *reward = checks[i].check(g, reply);
      known = true;
    }
  lrl_status status =
      known ? LRL_OK
            : LRL_FAIL(LRL_ERR_FORMAT, "a gold record has the unknown check '%.40s'", name);
  if (known && (!ended || count_words(reply) > MOST_WORDS) && *reward > 0.5)
    *reward = 0.5;
  json_decref(g);
  return status;
}
