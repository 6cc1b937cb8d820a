/* The experience of an iteration as an HDF5 file, for study: (output_dir)/experience/
 * step_00000001_rank0.h5. Arrays by prompt ("prompt_*"), by response and by response token, under
 * the names of struct lrl_ppo_experience; response k has tokens start[k] .. start[k] + length[k].
 */
#include "data/bytes.h"
#include "train/ppo_trainer.h"

#include <hdf5.h>
#include <stdlib.h>

struct dump {
  hid_t file;
  bool ok;
};

/* data NULL: the array does not exist in this run. */
static void put(struct dump *d, const char *name, hid_t type, int64_t n, const void *data) {
  const hsize_t size = (hsize_t)n;
  if (data == NULL)
    return;
  hid_t space = H5Screate_simple(1, &size, NULL);
  hid_t set = H5Dcreate2(d->file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  d->ok = d->ok && set >= 0 &&
          (n == 0 || H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
  if (set >= 0)
    H5Dclose(set);
  H5Sclose(space);
}

static lrl_status put_prompts(struct dump *d, const struct lrl_ppo_experience *e) {
  int64_t total = 0, at = 0;
  for (int64_t i = 0; i < e->n_prompts; i++)
    total += e->prompt[i].data.n_ids;
  int32_t *ids = calloc((size_t)total + 1, sizeof *ids);
  int64_t *start = calloc((size_t)e->n_prompts + 1, sizeof *start);
  int64_t *line = calloc((size_t)e->n_prompts + 1, sizeof *line);
  const lrl_status s = ids == NULL || start == NULL || line == NULL
                           ? LRL_FAIL(LRL_ERR_MEMORY, "no memory to write the experience")
                           : LRL_OK;
  for (int64_t i = 0; i < e->n_prompts && s == LRL_OK; i++) {
    start[i] = at;
    line[i] = e->prompt[i].data.line;
    for (int64_t t = 0; t < e->prompt[i].data.n_ids; t++)
      ids[at++] = e->prompt[i].data.ids[t];
  }
  if (s == LRL_OK) {
    start[e->n_prompts] = at;
    put(d, "prompt_ids", H5T_NATIVE_INT32, total, ids);
    put(d, "prompt_start", H5T_NATIVE_INT64, e->n_prompts + 1, start);
    put(d, "prompt_line", H5T_NATIVE_INT64, e->n_prompts, line);
  }
  free(ids);
  free(start);
  free(line);
  return s;
}

static void put_responses(struct dump *d, const struct lrl_ppo_experience *e) {
  const int64_t n = e->n_responses, m = e->n_tokens;
  put(d, "group", H5T_NATIVE_INT32, n, e->group);
  put(d, "start", H5T_NATIVE_INT32, n, e->start);
  put(d, "length", H5T_NATIVE_INT32, n, e->length);
  put(d, "finished", H5T_NATIVE_UINT8, n, e->finished);
  put(d, "score", H5T_NATIVE_DOUBLE, n, e->score);
  put(d, "gold", H5T_NATIVE_DOUBLE, n, e->gold);
  put(d, "shaped", H5T_NATIVE_DOUBLE, n, e->shaped);
  put(d, "baseline", H5T_NATIVE_DOUBLE, n, e->baseline);
  put(d, "token", H5T_NATIVE_INT32, m, e->token);
  const struct {
    const char *name;
    const float *data;
  } tokens[] = {{"rollout_logprobs", e->rollout_logprobs},
                {"sampling_logprobs", e->sampling_logprobs},
                {"old_logprobs", e->old_logprobs},
                {"ref_logprobs", e->ref_logprobs},
                {"entropy", e->entropy},
                {"values", e->values},
                {"kl", e->kl},
                {"rewards", e->rewards},
                {"advantages", e->advantages},
                {"returns", e->returns}};
  for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
    put(d, tokens[i].name, H5T_NATIVE_FLOAT, m, tokens[i].data);
}

lrl_status lrl_ppo_dump(const struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e) {
  char path[LRL_OPTION_TEXT + 96];
  _Static_assert(sizeof(bool) == 1, "finished is written as bytes");
  snprintf(path, sizeof path, "%s/experience", t->cfg->run.output_dir);
  LRL_TRY(lrl_folder_make(path));
  snprintf(path, sizeof path, "%s/experience/step_%08lld_rank%d.h5", t->cfg->run.output_dir,
           (long long)t->at.step, lrl_comm_rank(t->comm));
  struct dump d = {.file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), .ok = true};
  if (d.file < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s", path);
  const lrl_status s = put_prompts(&d, e);
  put_responses(&d, e);
  d.ok = H5Fclose(d.file) >= 0 && d.ok;
  return s != LRL_OK || d.ok ? s : LRL_FAIL(LRL_ERR_IO, "cannot write all of %s", path);
}
