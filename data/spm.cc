#include "data/spm.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <string>
#include <unordered_map>
#include <vector>

// Exported by the library but absent from its installed headers. Without it every refused model
// file would be reported on stderr, and a library of ours never prints.
namespace sentencepiece {
namespace logging {
void SetMinLogLevel(int v);
}
} // namespace sentencepiece

struct lrl_spm {
  sentencepiece::SentencePieceProcessor processor;
};

static void silence() {
  static std::once_flag once;
  std::call_once(once, [] { sentencepiece::logging::SetMinLogLevel(3); });
}

// Runs f and turns whatever it throws into a status.
template <typename F> static lrl_status guard(const char *what, F f) {
  try {
    return f();
  } catch (const std::bad_alloc &) {
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory while %s", what);
  } catch (const std::exception &e) {
    return LRL_FAIL(LRL_ERR_LIB, "SentencePiece failed while %s: %s", what, e.what());
  } catch (...) {
    return LRL_FAIL(LRL_ERR_LIB, "SentencePiece failed while %s", what);
  }
}

static lrl_status copy_out(const std::string &text, char **out, size_t *size) {
  char *p = static_cast<char *>(std::malloc(text.size() + 1));
  if (p == nullptr)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %zu bytes of text", text.size());
  std::memcpy(p, text.data(), text.size());
  p[text.size()] = '\0';
  *out = p;
  *size = text.size();
  return LRL_OK;
}

lrl_status lrl_spm_open(const void *bytes, size_t size, const char *name, struct lrl_spm **out) {
  *out = nullptr;
  LRL_TRY(lrl_spm_check(bytes, size, name));
  return guard("loading a tokenizer model", [&]() -> lrl_status {
    silence();
    auto s = std::make_unique<lrl_spm>();
    const auto status =
        s->processor.LoadFromSerializedProto({static_cast<const char *>(bytes), size});
    if (!status.ok())
      return LRL_FAIL(LRL_ERR_FORMAT, "%s is not a usable SentencePiece model: %s", name,
                      status.error_message());
    if (s->processor.GetPieceSize() < 1)
      return LRL_FAIL(LRL_ERR_FORMAT, "%s is a SentencePiece model without pieces", name);
    *out = s.release();
    return LRL_OK;
  });
}

void lrl_spm_close(struct lrl_spm *s) { delete s; }

int32_t lrl_spm_size(const struct lrl_spm *s) { return s->processor.GetPieceSize(); }
int32_t lrl_spm_unk(const struct lrl_spm *s) { return s->processor.unk_id(); }
int32_t lrl_spm_bos(const struct lrl_spm *s) { return s->processor.bos_id(); }
int32_t lrl_spm_eos(const struct lrl_spm *s) { return s->processor.eos_id(); }
int32_t lrl_spm_pad(const struct lrl_spm *s) { return s->processor.pad_id(); }

int32_t lrl_spm_find(const struct lrl_spm *s, const char *piece) {
  // An absent piece is answered with the id of <unk>, so the answer is checked.
  const int id = s->processor.PieceToId(piece);
  if (id < 0 || id >= s->processor.GetPieceSize() || s->processor.IdToPiece(id) != piece)
    return -1;
  return id;
}

lrl_status lrl_spm_piece(const struct lrl_spm *s, int32_t id, const char **piece) {
  if (id < 0 || id >= s->processor.GetPieceSize())
    return LRL_FAIL(LRL_ERR_ARG, "token id %d is outside the vocabulary of %d pieces", id,
                    s->processor.GetPieceSize());
  *piece = s->processor.IdToPiece(id).c_str();
  return LRL_OK;
}

lrl_status lrl_spm_encode(const struct lrl_spm *s, const char *text, int64_t len,
                          lrl_spm_sink *sink, void *user) {
  return guard("encoding text", [&]() -> lrl_status {
    std::vector<int> ids;
    const auto status = s->processor.Encode({text, static_cast<size_t>(len)}, &ids);
    if (!status.ok())
      return LRL_FAIL(LRL_ERR_LIB, "SentencePiece could not encode a text: %s",
                      status.error_message());
    return sink(user, ids.data(), static_cast<int64_t>(ids.size()));
  });
}

lrl_status lrl_spm_decode(const struct lrl_spm *s, const int32_t *ids, int64_t n, char **out,
                          int64_t *len) {
  *out = nullptr;
  return guard("decoding token ids", [&]() -> lrl_status {
    const char *piece;
    for (int64_t i = 0; i < n; i++)
      LRL_TRY(lrl_spm_piece(s, ids[i], &piece));
    std::string text;
    const auto status = s->processor.Decode(std::vector<int>(ids, ids + n), &text);
    if (!status.ok())
      return LRL_FAIL(LRL_ERR_LIB, "SentencePiece could not decode token ids: %s",
                      status.error_message());
    size_t size = 0;
    LRL_TRY(copy_out(text, out, &size));
    *len = static_cast<int64_t>(size);
    return LRL_OK;
  });
}

namespace {
class Sentences : public sentencepiece::SentenceIterator {
public:
  Sentences(const char *const *texts, int64_t n) : texts_(texts), n_(n) { load(); }
  bool done() const override { return i_ >= n_; }
  void Next() override {
    i_++;
    load();
  }
  const std::string &value() const override { return value_; }
  sentencepiece::util::Status status() const override { return {}; }

private:
  void load() {
    if (i_ < n_)
      value_ = texts_[i_];
  }
  const char *const *texts_;
  int64_t n_, i_ = 0;
  std::string value_;
};
} // namespace

lrl_status lrl_spm_train(const char *const *sentences, int64_t n, int32_t n_vocab,
                         const char *symbols, char **out, size_t *size) {
  *out = nullptr;
  return guard("training a tokenizer", [&]() -> lrl_status {
    silence();
    const std::unordered_map<std::string, std::string> args = {
        {"model_type", "bpe"},
        {"vocab_size", std::to_string(n_vocab)},
        {"normalization_rule_name", "identity"},
        {"add_dummy_prefix", "false"},
        {"remove_extra_whitespaces", "false"},
        {"byte_fallback", "true"},
        {"split_digits", "true"},
        {"allow_whitespace_only_pieces", "true"},
        {"user_defined_symbols", symbols},
        {"num_threads", "1"},
        {"max_sentence_length", "16777216"},
        // A small corpus may not hold enough distinct merges; then the vocabulary is smaller.
        {"hard_vocab_limit", "false"},
        {"minloglevel", "3"},
    };
    Sentences it(sentences, n);
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(args, &it, &model);
    if (!status.ok())
      return LRL_FAIL(LRL_ERR_ARG, "cannot train a tokenizer of %d pieces on %lld texts: %s",
                      n_vocab, static_cast<long long>(n), status.error_message());
    return copy_out(model, out, size);
  });
}
