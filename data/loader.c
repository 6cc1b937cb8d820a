#include "data/loader.h"

#include "data/batch_build.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lrl_loader {
  const struct lrl_corpus *c;
  struct lrl_loader_options opt;
  struct lrl_order *order;
  struct lrl_batch_builder *slots;
  int64_t n_slots;
  int64_t *step_pairs; /* [batch_pairs]; used by the thread only */
  int64_t *mine;       /* [batch_pairs] */
  int64_t epoch_steps;

  pthread_t thread;
  bool started;
  pthread_mutex_t lock;
  pthread_cond_t ready, room;
  /* Under the lock. Slot k % n_slots holds batch k. */
  int64_t n_made, n_given_back;
  bool stop, finished;
  lrl_status status; /* why the thread ended early */
  char message[400];
  bool holding; /* the consumer has batch n_given_back; consumer only */
};

/* Next slot to fill; NULL when the loader is being destroyed. */
static struct lrl_batch_builder *wait_for_room(struct lrl_loader *l) {
  pthread_mutex_lock(&l->lock);
  while (!l->stop && l->n_made - l->n_given_back >= l->n_slots)
    pthread_cond_wait(&l->room, &l->lock);
  struct lrl_batch_builder *slot = l->stop ? NULL : &l->slots[l->n_made % l->n_slots];
  pthread_mutex_unlock(&l->lock);
  return slot;
}

static void hand_over(struct lrl_loader *l) {
  pthread_mutex_lock(&l->lock);
  l->n_made++;
  pthread_cond_signal(&l->ready);
  pthread_mutex_unlock(&l->lock);
}

/* End of the micro-batch that begins at pair `at` of this rank. */
static int64_t micro_end(const struct lrl_loader *l, int64_t at, int64_t n) {
  int64_t tokens = 0, end = at;
  while (end < n) {
    int64_t cost = lrl_batch_pair_cost(&l->slots[0], l->c, l->mine[end]);
    if (end > at && l->opt.max_tokens > 0 && tokens + cost > l->opt.max_tokens)
      break;
    tokens += cost;
    end++;
  }
  return end;
}

/* *done: nothing is left to load. */
static lrl_status load_step(struct lrl_loader *l, int64_t step, bool *done) {
  int64_t n_all, n = 0, n_micro = 0, weight = 0;
  LRL_TRY(lrl_order_step(l->order, step, l->step_pairs, &n_all));
  *done = n_all == 0;
  if (*done)
    return LRL_OK;
  for (int64_t i = 0; i < n_all && l->opt.weight != NULL; i++)
    weight += l->opt.weight[l->step_pairs[i]];
  for (int64_t i = l->opt.rank; i < n_all; i += l->opt.n_ranks)
    l->mine[n++] = l->step_pairs[i];
  for (int64_t at = 0; at < n || n_micro == 0; at = micro_end(l, at, n))
    n_micro++;
  int64_t at = 0;
  for (int64_t m = 0; m < n_micro; m++) {
    struct lrl_batch_builder *slot = wait_for_room(l);
    if (slot == NULL) {
      *done = true;
      return LRL_OK;
    }
    lrl_batch_builder_reset(slot);
    for (int64_t end = micro_end(l, at, n); at < end; at++)
      LRL_TRY(lrl_batch_builder_add_pair(slot, l->c, l->mine[at]));
    lrl_batch_builder_finish(slot);
    slot->batch.step = step;
    slot->batch.epoch = step * l->opt.order.batch_pairs / lrl_order_epoch_pairs(l->order);
    slot->batch.micro = m;
    slot->batch.n_micro = n_micro;
    slot->batch.n_pairs_step = n_all;
    slot->batch.weight_step = weight;
    hand_over(l);
  }
  return LRL_OK;
}

static void *run(void *user) {
  struct lrl_loader *l = user;
  lrl_status status = LRL_OK;
  bool done = false;
  for (int64_t k = 0; !done && status == LRL_OK && (l->opt.n_steps == 0 || k < l->opt.n_steps); k++)
    status = load_step(l, l->opt.first_step + k, &done);
  pthread_mutex_lock(&l->lock);
  l->finished = true;
  l->status = status;
  if (status != LRL_OK)
    snprintf(l->message, sizeof l->message, "%s", lrl_last_error());
  pthread_cond_signal(&l->ready);
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static lrl_status check(const struct lrl_loader_options *o) {
  if (o->n_ranks < 1 || o->rank < 0 || o->rank >= o->n_ranks)
    return LRL_FAIL(LRL_ERR_ARG, "rank %lld of %lld does not exist", (long long)o->rank,
                    (long long)o->n_ranks);
  if (o->prefetch < 1)
    return LRL_FAIL(LRL_ERR_ARG, "the loader needs prefetch >= 1, not %d", (int)o->prefetch);
  if (o->first_step < 0 || o->n_steps < 0 || o->max_tokens < 0)
    return LRL_FAIL(LRL_ERR_ARG, "first_step, n_steps and max_tokens of the loader must be >= 0");
  return LRL_OK;
}

lrl_status lrl_loader_create(const struct lrl_corpus *c, const struct lrl_loader_options *options,
                             struct lrl_loader **out) {
  lrl_status status;
  *out = NULL;
  LRL_TRY(check(options));
  struct lrl_loader *l = calloc(1, sizeof *l);
  if (l == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the loader");
  l->c = c;
  l->opt = *options;
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->ready, NULL);
  pthread_cond_init(&l->room, NULL);
  LRL_TRY_GOTO(lrl_order_create(c, &options->order, &l->order));
  l->epoch_steps = lrl_order_epoch_steps(l->order);
  l->step_pairs = calloc((size_t)options->order.batch_pairs, sizeof *l->step_pairs);
  l->mine = calloc((size_t)options->order.batch_pairs, sizeof *l->mine);
  l->slots = calloc((size_t)options->prefetch + 1, sizeof *l->slots); /* one is with the consumer */
  if (l->step_pairs == NULL || l->mine == NULL || l->slots == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for the loader"));
  l->n_slots = options->prefetch + 1;
  struct lrl_batch_bounds bounds = {0};
  for (int64_t i = 0; i < l->n_slots; i++) {
    lrl_batch_builder_init(&l->slots[i], options->images);
    l->slots[i].share_prefix = options->share_prefix;
    l->slots[i].answers_only = options->answers_only;
    l->slots[i].withhold_images = options->withhold_images;
    if (i == 0)
      bounds = lrl_batch_builder_bounds(
          &l->slots[0], c, (options->order.batch_pairs + options->n_ranks - 1) / options->n_ranks,
          options->max_tokens);
    LRL_TRY_GOTO(lrl_batch_builder_reserve(&l->slots[i], &bounds));
  }
  if (pthread_create(&l->thread, NULL, run, l) != 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_IO, "cannot start the loader's thread"));
  l->started = true;
done:
  if (status != LRL_OK) {
    lrl_loader_destroy(l);
    return status;
  }
  *out = l;
  return LRL_OK;
}

void lrl_loader_destroy(struct lrl_loader *l) {
  if (l == NULL)
    return;
  if (l->started) {
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->room);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
  }
  for (int64_t i = 0; i < l->n_slots; i++)
    lrl_batch_builder_free(&l->slots[i]);
  pthread_cond_destroy(&l->ready);
  pthread_cond_destroy(&l->room);
  pthread_mutex_destroy(&l->lock);
  lrl_order_destroy(l->order);
  free(l->slots);
  free(l->step_pairs);
  free(l->mine);
  free(l);
}

lrl_status lrl_loader_next(struct lrl_loader *l, const struct lrl_batch **out) {
  lrl_status status = LRL_OK;
  *out = NULL;
  pthread_mutex_lock(&l->lock);
  if (l->holding) {
    l->n_given_back++;
    l->holding = false;
    pthread_cond_signal(&l->room);
  }
  while (l->n_made == l->n_given_back && !l->finished)
    pthread_cond_wait(&l->ready, &l->lock);
  if (l->n_made > l->n_given_back) {
    *out = &l->slots[l->n_given_back % l->n_slots].batch;
    l->holding = true;
  } else {
    status = l->status;
  }
  pthread_mutex_unlock(&l->lock);
  return status == LRL_OK ? LRL_OK : LRL_FAIL(status, "%s", l->message);
}

int64_t lrl_loader_epoch_steps(const struct lrl_loader *l) { return l->epoch_steps; }
