/* The coefficient of the KL penalty: fixed, or moved towards a target (Ziegler et al. 2019):
 * kl_coef *= 1 + clip(kl/target - 1, -0.2, 0.2) * n / horizon. Plain data, saved in checkpoints. */
#ifndef LRL_KL_CONTROLLER_H
#define LRL_KL_CONTROLLER_H
#include <stdint.h>

enum lrl_kl_ctrl { LRL_KL_CTRL_FIXED = 0, LRL_KL_CTRL_ADAPTIVE = 1 };
struct lrl_kl_controller {
  enum lrl_kl_ctrl type;
  double kl_coef; /* now */
  /* target_kl in the unit of the kl given: TRL feeds nats per sequence (target 6), verl nats per
   * token (target 0.1). horizon counts what n counts. */
  double target_kl, horizon;
};
/* After an iteration that measured `kl` on n samples. */
static inline void lrl_kl_controller_update(struct lrl_kl_controller *c, double kl, double n) {
  if (c->type == LRL_KL_CTRL_FIXED)
    return;
  double error = kl / c->target_kl - 1.0;
  error = error > 0.2 ? 0.2 : error < -0.2 ? -0.2 : error;
  c->kl_coef *= 1.0 + error * n / c->horizon;
}
#endif
