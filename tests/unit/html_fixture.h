/* Pages for tests: whether they are whole and load nothing, and what a browser makes of them. */
#ifndef LRL_HTML_FIXTURE_H
#define LRL_HTML_FIXTURE_H
#include "data/image.h"
#include "shell_fixture.h"

/* Every tag that is opened is closed, in order; < and > stand in tags only. */
static void expect_balanced(const char *page) {
  static const char *const open_only[] = {"!DOCTYPE", "meta", "img"};
  char stack[64][16];
  int depth = 0, n = 0;
  for (const char *p = page; (p = strpbrk(p, "<>")) != NULL; n++) {
    const char *end = strchr(p, '>');
    char name[16];
    assert_true(*p == '<' && end != NULL && strcspn(p + 1, "<") > (size_t)(end - p - 1));
    const bool closes = p[1] == '/', alone = end[-1] == '/';
    snprintf(name, sizeof name, "%.*s", (int)strcspn(p + 1 + closes, " >/\n"), p + 1 + closes);
    bool single = alone;
    for (int i = 0; i < 3; i++)
      single = single || strcmp(name, open_only[i]) == 0;
    if (closes && (depth == 0 || strcmp(stack[--depth], name) != 0))
      fail_msg("</%s> closes <%s>, near: %.60s", name, depth < 0 ? "" : stack[depth], p);
    if (!closes && !single) {
      assert_true(depth < 64);
      memcpy(stack[depth++], name, sizeof name);
    }
    p = end + 1;
    if (strcmp(name, "style") == 0 && !closes)
      p = strstr(p, "</style>");
  }
  assert_int_equal(depth, 0);
  assert_true(n > 20);
}

/* No address, no script, no file but what is in the page. */
static void expect_self_contained(const char *page) {
  static const char *const never[] = {"http:", "https:",  "<script", "<link",  "@import",
                                      "url(",  "src=\"/", "file:",   "onload", "onerror="};
  for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
    if (strstr(page, never[i]) != NULL)
      fail_msg("the page holds '%s': %.80s", never[i], strstr(page, never[i]));
  for (const char *p = page; (p = strstr(p, "src=\"")) != NULL; p++)
    assert_int_equal(strncmp(p, "src=\"data:image/jpeg;base64,", 28), 0);
  expect_balanced(page);
}

/* A screenshot of a file of dir by whichever browser there is. false, and why, without one. */
static bool screenshot(const char *name, int width, const char *more, struct lrl_image *out) {
  static const char *const browsers[] = {"chromium", "chromium-browser", "google-chrome", "firefox",
                                         "firefox-esr"};
  char command[1024], find[64], *png;
  size_t n;
  for (size_t i = 0; i < sizeof browsers / sizeof browsers[0]; i++) {
    snprintf(find, sizeof find, "command -v %s", browsers[i]);
    if (shell(find) != 0)
      continue;
    const bool fox = strncmp(browsers[i], "firefox", 7) == 0;
    snprintf(command, sizeof command,
             fox ? "rm -f shot.png; HOME=$PWD timeout 100 %s --headless --window-size=%d,900 "
                   "--screenshot $PWD/shot.png file://$PWD/%s%.0s"
                 : "rm -f shot.png; HOME=$PWD timeout 100 %s --headless --no-sandbox --disable-gpu "
                   "--disable-dev-shm-usage --user-data-dir=$PWD/browser --window-size=%d,900 "
                   "--screenshot=$PWD/shot.png file://$PWD/%s %s",
             browsers[i], width, name, more);
    (void)shell(command);
    char path[128];
    snprintf(path, sizeof path, "%s/shot.png", dir);
    if (lrl_file_read_raw(path, &png, &n) != LRL_OK) {
      printf("SKIP: %s makes no screenshot here: %.200s\n", browsers[i], output);
      lrl_error_clear();
      return false;
    }
    assert_int_equal(lrl_image_decode(png, n, LRL_IMAGE_MAX_PIXELS, out), LRL_OK);
    free(png);
    return true;
  }
  printf("SKIP: no browser is installed\n");
  return false;
}

/* Shares of a picture's pixels that are not of the colour of its first one, and that are `colour`
 * to within a few steps. */
static double share(const struct lrl_image *image, const uint8_t *colour) {
  const uint8_t *rgb = image->rgb.data;
  const int64_t n = (int64_t)image->width * image->height;
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    int off = 0;
    for (int c = 0; c < 3; c++)
      off += abs(rgb[3 * i + c] - (colour == NULL ? rgb[c] : colour[c]));
    count += colour == NULL ? off > 0 : off < 12;
  }
  return (double)count / (double)n;
}
#endif
