/* Tokenizer files of llama2.c (tok512.bin, tokenizer.bin): int32 longest piece, then per piece f32
 * score, int32 length, bytes, with blanks for SentencePiece's U+2581. Turned back into the
 * SentencePiece model they were made from. */
#ifndef LRL_DATA_LLAMA2C_VOCAB_H
#define LRL_DATA_LLAMA2C_VOCAB_H
#include "kernels/status.h"

/* Serialised model for lrl_tokenizer_open_bytes; malloc'ed, the caller frees. The file does not say
 * how many pieces it has: it is read to its end. Errors: LRL_ERR_IO, LRL_ERR_FORMAT. */
lrl_status lrl_llama2c_vocab(const char *path, void **bytes, size_t *size);
#endif
