/* rlhf_golden: small f64 cases through TRL, OpenRLHF, verl, NeMo, DeepSpeed-Chat and XTuner; and
 * F5, the adaptive KL controller. */
#include "tests/golden/rl_json.h"
#include "train/kl_controller.h"

static const struct {
  const char *name;
  rj_section *run;
} sections[] = {{"masked", rj_masked},
                {"kl", rj_kl},
                {"rewards", rj_rewards},
                {"dschat", rj_dschat},
                {"gae", rj_gae},
                {"trl_pipeline", rj_trl_pipeline},
                {"policy_loss", rj_policy},
                {"value_loss", rj_value},
                {"group", rj_group},
                {"adaptive_kl", rj_adaptive},
                {"rm", rj_rm},
                {"xtuner_running_norm", rj_running}};

static void section(struct rl_json *j, const char *name, json_t *value) {
  for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
    if (strcmp(sections[i].name, name) == 0) {
      golden_ok(j->c.g, j->c.name, name, sections[i].run(j, name, value));
      return;
    }
  if (strcmp(name, "inputs") != 0 && json_is_object(value))
    golden_fail(j->c.g, j->c.name, name, "a section this runner does not know");
}

static void rlhf(struct golden *g, const char *path, const char *name) {
  struct rl_json j = {.root = json_load_file(path, 0, NULL)};
  struct rl *c = &j.c;
  int64_t rows, width;
  const char *key;
  json_t *value;
  *c = (struct rl){.g = g, .name = name, .tol = 5e-6};
  if (!golden_ok(g, name, "device", lrl_ctx_init(&c->b.ctx, g->device, 0)))
    return;
  const json_t *mask = rj_get(&j, "inputs/mask");
  if (rj_list(&j, mask, &rows, &width) == NULL) {
    golden_fail(g, name, "", "not JSON, or no inputs/mask");
  } else {
    rl_set_mask(c, rj_padded(&j, "inputs/mask"), rows, width);
    json_object_foreach(j.root, key, value) section(&j, key, value);
  }
  bag_clear(&c->b);
  lrl_ctx_free(&c->b.ctx);
  json_decref(j.root);
}
GOLDEN_FAMILY("rlhf_golden", rlhf)

/* Rows are [current_kl, n_steps, value_after]. */
static void kl_controller(struct golden *g, const char *path, const char *name) {
  json_t *root = json_load_file(path, 0, NULL), *one, *row;
  double worst = 0.0;
  size_t i, k, n = 0;
  json_array_foreach(json_object_get(root, "sequences"), i, one) {
    struct lrl_kl_controller c = {
        .type = LRL_KL_CTRL_ADAPTIVE,
        .kl_coef = json_number_value(json_object_get(one, "init")),
        .target_kl = json_number_value(json_object_get(one, "target")),
        .horizon = json_number_value(json_object_get(one, "horizon")),
    };
    json_array_foreach(json_object_get(one, "rows"), k, row) {
      const double want = json_number_value(json_array_get(row, 2));
      lrl_kl_controller_update(&c, json_number_value(json_array_get(row, 0)),
                               json_number_value(json_array_get(row, 1)));
      worst = bag_worse(worst, fabs(c.kl_coef - want) / fabs(want));
      n++;
    }
  }
  golden_check(g, name, "relative", n > 0 ? worst : NAN, 1e-12);
  json_decref(root);
}
GOLDEN_FAMILY("F5_", kl_controller)
