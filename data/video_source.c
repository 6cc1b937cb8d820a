#include "data/video_impl.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

enum {
  IO_BYTES = 1 << 16,
  PROBE_BYTES = 4 << 20, /* that streams are looked for in; what the decoder reads is not limited */
  MAX_STREAMS = 64,
};

lrl_status lrl_video_fail(const char *what, int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(code, text, sizeof text);
  return LRL_FAIL(LRL_ERR_FORMAT, "%s: %s", what, text);
}

/* Nothing of it may print. */
static pthread_once_t quiet_once = PTHREAD_ONCE_INIT;
static void be_quiet(void) { av_log_set_level(AV_LOG_QUIET); }

static int read_bytes(void *user, uint8_t *to, int n) {
  struct lrl_video_source *s = user;
  const int64_t left = s->n_bytes - s->at, got = left < n ? left : n;
  if (got <= 0)
    return AVERROR_EOF;
  memcpy(to, s->bytes + s->at, (size_t)got);
  s->at += got;
  return (int)got;
}

static int64_t seek_bytes(void *user, int64_t offset, int whence) {
  struct lrl_video_source *s = user;
  whence &= ~AVSEEK_FORCE;
  if (whence == AVSEEK_SIZE)
    return s->n_bytes;
  const int64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : s->n_bytes;
  if (offset < -from || offset > s->n_bytes - from)
    return AVERROR(EINVAL);
  return s->at = from + offset;
}

/* Other files and addresses that a container may name. */
static int refuse(AVFormatContext *format, AVIOContext **io, const char *url, int flags,
                  AVDictionary **options) {
  (void)format, (void)io, (void)url, (void)flags, (void)options;
  return AVERROR(EPERM);
}

static lrl_status open_container(struct lrl_video_source *s) {
  const AVInputFormat *kind =
      av_find_input_format(lrl_video_container(s->bytes, (size_t)s->n_bytes));
  uint8_t *buffer = av_malloc(IO_BYTES);
  s->packet = av_packet_alloc();
  s->format = avformat_alloc_context();
  if (buffer != NULL)
    s->io = avio_alloc_context(buffer, IO_BYTES, 0, s, read_bytes, NULL, seek_bytes);
  if (s->io == NULL)
    av_free(buffer);
  if (s->io == NULL || s->packet == NULL || s->format == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to read a video");
  if (kind == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "this FFmpeg does not read the video's kind of file");
  s->format->pb = s->io;
  s->format->flags |= AVFMT_FLAG_CUSTOM_IO;
  s->format->io_open = refuse;
  s->format->probesize = PROBE_BYTES;
  s->format->max_streams = MAX_STREAMS;
  const int code = avformat_open_input(&s->format, NULL, kind, NULL); /* frees format on failure */
  return code < 0 ? lrl_video_fail("the video is truncated or damaged", code) : LRL_OK;
}

/* Finds sizes, codecs and rates, for which FFmpeg may decode a little. */
static lrl_status look_at_streams(struct lrl_video_source *s) {
  enum { HELD = MAX_STREAMS };
  AVDictionary *options[HELD] = {NULL};
  const unsigned n = s->format->nb_streams;
  for (unsigned i = 0; i < n && i < HELD; i++) {
    av_dict_set_int(&options[i], "threads", 1, 0);
    av_dict_set_int(&options[i], "max_pixels", LRL_IMAGE_MAX_PIXELS, 0);
  }
  const int code = n > HELD ? AVERROR(EINVAL) : avformat_find_stream_info(s->format, options);
  for (unsigned i = 0; i < n && i < HELD; i++)
    av_dict_free(&options[i]);
  return code < 0 ? lrl_video_fail("the video is truncated or damaged", code) : LRL_OK;
}

lrl_status lrl_video_source_open(struct lrl_video_source *s, const void *bytes, size_t n_bytes) {
  pthread_once(&quiet_once, be_quiet);
  *s = (struct lrl_video_source){.bytes = bytes, .n_bytes = (int64_t)n_bytes, .stream = -1};
  LRL_TRY(open_container(s));
  LRL_TRY(look_at_streams(s));
  s->stream = av_find_best_stream(s->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
  if (s->stream < 0 ||
      (s->format->streams[s->stream]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "there is no video in the file");
  for (unsigned i = 0; i < s->format->nb_streams; i++)
    if ((int)i != s->stream)
      s->format->streams[i]->discard = AVDISCARD_ALL;
  return LRL_OK;
}

void lrl_video_source_close(struct lrl_video_source *s) {
  av_packet_free(&s->packet);
  avformat_close_input(&s->format);
  if (s->io != NULL)
    av_freep(&s->io->buffer);
  avio_context_free(&s->io);
}

lrl_status lrl_video_source_next(struct lrl_video_source *s, bool *more) {
  int code;
  do {
    av_packet_unref(s->packet);
    code = av_read_frame(s->format, s->packet);
  } while (code >= 0 && s->packet->stream_index != s->stream);
  *more = code >= 0;
  if (code == AVERROR_EOF)
    return LRL_OK;
  if (code < 0)
    return lrl_video_fail("the video is truncated or damaged", code);
  if ((s->packet->flags & AV_PKT_FLAG_CORRUPT) != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the video is truncated or damaged within a frame");
  return LRL_OK;
}
