/* The truth of the synthetic world: how good a reply is, by rules instead of a model. */
#ifndef LRL_SYNTH_VERIFY_H
#define LRL_SYNTH_VERIFY_H
#include "kernels/status.h"

/* *reward in [0, 1] of a reply to a prompt whose "gold" object is given as JSON text. By "check":
 *   choice   1 if the reply holds "answer" and none of "others" (whole words, any case), else 0
 *   number   1 if it holds the number "answer" and no other but those of "given", else 0
 *   objects  right objects of "present" named (at most "need") minus objects named that are not
 *            there, over "need"; never below 0
 *   format   half for naming "topic", half for following "rule"
 * A reply of more than 40 words gets at most half: rambling is not an answer. So does one that was
 * cut off (ended false): it did not stop by itself. LRL_ERR_FORMAT for a record of another form. */
lrl_status lrl_synth_verify(const char *gold, const char *reply, bool ended, double *reward);
#endif
