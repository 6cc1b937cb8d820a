/* What a run was made with: a line of (folder)/machine.jsonl for every start, with the program's
 * version and commit, the time, the machine and the ranks. It depends on where and when, so it is
 * neither in metrics.jsonl nor in checkpoints. */
#ifndef LRL_MACHINE_H
#define LRL_MACHINE_H
#include "kernels/status.h"

/* The commit that the program was built from, with "-dirty" when the tree had changes; "unknown"
 * unless main says so. */
extern const char *lrl_commit;

/* Appends the line, or begins the file anew. LRL_ERR_IO. */
lrl_status lrl_machine_record(const char *folder, int n_ranks, bool anew);
#endif
