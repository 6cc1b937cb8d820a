#include "data/video_impl.h"
#include "data/video_plugin.h"

#include <stdlib.h>

/* Far above any video, far below what overflows; a damaged table may claim any number. */
enum { MAX_PACKETS = 50000000 };

struct packet {
  int64_t pts;
  int64_t frame; /* which it shows; -1: none */
  bool key;
};

struct lrl_video {
  const void *bytes;
  size_t n_bytes;
  int64_t max_pixels;
  struct lrl_video_info info;
  struct lrl_buffer packets;
  int64_t n_packets;
  bool timed; /* every shown packet has a time of its own */

  struct lrl_video_source source;
  AVCodecContext *codec;
  AVFrame *frame;
  struct lrl_video_picture picture;
};

static const char *library(void) {
  static const char name[] = "FFmpeg's libavformat " AV_STRINGIFY(LIBAVFORMAT_VERSION);
  return name;
}

static void close_video(struct lrl_video *v) {
  if (v == NULL)
    return;
  lrl_video_source_close(&v->source);
  avcodec_free_context(&v->codec);
  av_frame_free(&v->frame);
  lrl_video_picture_free(&v->picture);
  lrl_buffer_free(&v->packets);
  free(v);
}

static void get_info(const struct lrl_video *v, struct lrl_video_info *out) { *out = v->info; }

static AVStream *stream_of(const struct lrl_video *v) {
  return v->source.format->streams[v->source.stream];
}

/* ---- opening ---- */

static lrl_status open_codec(struct lrl_video *v) {
  const AVCodecParameters *p = stream_of(v)->codecpar;
  const AVCodec *codec = avcodec_find_decoder(p->codec_id);
  if (codec == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "this FFmpeg does not decode the video's codec, %s",
                    avcodec_get_name(p->codec_id));
  v->codec = avcodec_alloc_context3(codec);
  v->frame = av_frame_alloc();
  if (v->codec == NULL || v->frame == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to decode a video");
  int code = avcodec_parameters_to_context(v->codec, p);
  v->codec->thread_count = 1;
  v->codec->max_pixels = v->max_pixels;
  v->codec->pkt_timebase = stream_of(v)->time_base;
  if (code >= 0)
    code = avcodec_open2(v->codec, codec, NULL);
  return code < 0 ? lrl_video_fail("the video cannot be decoded", code) : LRL_OK;
}

static lrl_status measure(struct lrl_video *v) {
  const AVCodecParameters *p = stream_of(v)->codecpar;
  if (p->width < 1 || p->height < 1)
    return LRL_FAIL(LRL_ERR_FORMAT, "the video's frames have no size, or one over the limit");
  if (p->width > LRL_IMAGE_MAX_SIDE || p->height > LRL_IMAGE_MAX_SIDE ||
      p->width > v->max_pixels / p->height)
    return LRL_FAIL(LRL_ERR_SHAPE, "the video claims %d x %d pixels, more than the limit %lld",
                    p->width, p->height, (long long)v->max_pixels);
  v->picture.turns = lrl_video_turns(stream_of(v));
  const bool upright = v->picture.turns % 2 == 0;
  v->picture.width = p->width;
  v->picture.height = p->height;
  v->info.width = upright ? p->width : p->height;
  v->info.height = upright ? p->height : p->width;
  return LRL_OK;
}

/* Opens the file at its first packet, with a fresh decoder. */
static lrl_status start(struct lrl_video *v) {
  lrl_video_source_close(&v->source);
  avcodec_free_context(&v->codec);
  av_frame_free(&v->frame);
  LRL_TRY(lrl_video_source_open(&v->source, v->bytes, v->n_bytes));
  LRL_TRY(measure(v));
  return open_codec(v);
}

/* Whether a packet shows a frame. */
static bool shows(const struct lrl_video *v) {
  const AVPacket *p = v->source.packet;
  if ((p->flags & AV_PKT_FLAG_DISCARD) != 0)
    return false;
  return v->codec->codec_id != AV_CODEC_ID_VP8 || (p->size > 0 && (p->data[0] & 0x10) != 0);
}

static int compare_times(const void *a, const void *b) {
  const struct packet *x = *(struct packet *const *)a, *y = *(struct packet *const *)b;
  return (x->pts > y->pts) - (x->pts < y->pts);
}

/* Numbers the shown packets by their times; v->timed when those are there and distinct. */
static lrl_status number_frames(struct lrl_video *v) {
  struct packet *p = v->packets.data;
  struct packet **shown = malloc((size_t)(v->n_packets + 1) * sizeof *shown);
  int64_t n = 0;
  if (shown == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the times of a video's frames");
  v->timed = true;
  for (int64_t i = 0; i < v->n_packets; i++)
    if (p[i].frame >= 0)
      shown[n++] = &p[i];
  qsort(shown, (size_t)n, sizeof *shown, compare_times);
  for (int64_t k = 0; k < n; k++) {
    shown[k]->frame = k;
    v->timed = v->timed && shown[k]->pts != AV_NOPTS_VALUE &&
               (k == 0 || shown[k]->pts != shown[k - 1]->pts);
  }
  v->info.n_frames = n;
  const AVRational base = stream_of(v)->time_base, rate = stream_of(v)->avg_frame_rate;
  const double seconds =
      v->timed && n > 1 ? ((double)shown[n - 1]->pts - (double)shown[0]->pts) * av_q2d(base) : 0;
  v->info.fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate)
                : seconds > 0                ? (double)(n - 1) / seconds
                                             : 1;
  free(shown);
  return LRL_OK;
}

static lrl_status list_packets(struct lrl_video *v) {
  for (bool more;;) {
    LRL_TRY(lrl_video_source_next(&v->source, &more));
    if (!more)
      break;
    if (v->n_packets == MAX_PACKETS)
      return LRL_FAIL(LRL_ERR_SHAPE, "the video has more than %d frames", MAX_PACKETS);
    LRL_TRY(lrl_buffer_reserve(&v->packets, (size_t)(v->n_packets + 1) * sizeof(struct packet)));
    ((struct packet *)v->packets.data)[v->n_packets++] = (struct packet){
        v->source.packet->pts, shows(v) ? 0 : -1, (v->source.packet->flags & AV_PKT_FLAG_KEY) != 0};
  }
  return number_frames(v);
}

/* ---- decoding ---- */

/* One reading of frames. */
struct reading {
  const int64_t *frames;
  int64_t n, k;  /* wanted; given so far */
  int64_t n_out; /* frames the decoder has shown, if none was skipped */
  bool skip;     /* whether packets may be left out */
  lrl_status (*fn)(void *user, const struct lrl_image *frame);
  void *user;
};

/* Number of the frame in v->frame; -1 when its time is none of the file's. */
static int64_t number_of(const struct lrl_video *v, int64_t n_out) {
  if (!v->timed)
    return n_out;
  const struct packet *p = v->packets.data;
  const int64_t i = v->frame->pts;
  return i >= 0 && i < v->n_packets ? p[i].frame : -1;
}

static bool is_damaged(const AVFrame *f) {
  return f->decode_error_flags != 0 || (f->flags & AV_FRAME_FLAG_CORRUPT) != 0;
}

/* Takes what the decoder has ready; *missed when a wanted frame was passed or is damaged. */
static lrl_status take_frames(struct lrl_video *v, struct reading *r, bool *missed) {
  while (r->k < r->n && avcodec_receive_frame(v->codec, v->frame) >= 0) {
    const int64_t i = number_of(v, r->n_out++);
    if (i < r->frames[r->k])
      continue;
    *missed = i > r->frames[r->k] || is_damaged(v->frame);
    if (*missed)
      return LRL_OK;
    LRL_TRY(lrl_video_picture_take(&v->picture, v->frame));
    LRL_TRY(r->fn(r->user, &v->picture.image));
    r->k++;
  }
  return LRL_OK;
}

/* The packet to begin with for a frame: the last key frame at or before it, in both orders. */
static int64_t first_packet(const struct lrl_video *v, int64_t frame) {
  const struct packet *p = v->packets.data;
  int64_t at = 0;
  while (at < v->n_packets && p[at].frame != frame)
    at++;
  for (int64_t i = at; i > 0 && at < v->n_packets; i--)
    if (p[i].key && p[i].pts <= p[at].pts)
      return i;
  return 0;
}

/* One pass over the file. Packets carry their number as their time, which the decoder hands on. */
static lrl_status pass(struct lrl_video *v, struct reading *r) {
  bool missed = false, more = true;
  int64_t k = -1, from = 0, next = 0; /* next: packet the decoder expects */
  r->n_out = 0;
  LRL_TRY(start(v));
  for (int64_t i = 0; r->k < r->n && !missed; i++) {
    if (k != r->k && r->skip)
      from = first_packet(v, r->frames[r->k]);
    k = r->k;
    LRL_TRY(lrl_video_source_next(&v->source, &more));
    if (!more)
      break;
    if (i < from)
      continue;
    if (i != next)
      avcodec_flush_buffers(v->codec);
    next = i + 1;
    v->source.packet->pts = v->source.packet->dts = i;
    /* A packet that is refused shows as a missing frame, if the frame is wanted. */
    (void)avcodec_send_packet(v->codec, v->source.packet);
    LRL_TRY(take_frames(v, r, &missed));
  }
  if (r->k < r->n && !missed) {
    (void)avcodec_send_packet(v->codec, NULL);
    LRL_TRY(take_frames(v, r, &missed));
  }
  return LRL_OK;
}

static lrl_status read_frames(struct lrl_video *v, const int64_t *frames, int64_t n,
                              lrl_status (*fn)(void *user, const struct lrl_image *frame),
                              void *user) {
  struct reading r = {.frames = frames, .n = n, .skip = v->timed, .fn = fn, .user = user};
  LRL_TRY(pass(v, &r));
  if (r.k < n && r.skip) { /* its key frames did not stand alone */
    r.skip = false;
    LRL_TRY(pass(v, &r));
  }
  return r.k == n ? LRL_OK
                  : LRL_FAIL(LRL_ERR_FORMAT, "frame %lld of the video's %lld cannot be decoded",
                             (long long)frames[r.k], (long long)v->info.n_frames);
}

static lrl_status drop(void *user, const struct lrl_image *frame) {
  (void)user, (void)frame;
  return LRL_OK;
}

/* Frames of a video without usable times: all that the decoder gives. */
static lrl_status count_by_decoding(struct lrl_video *v) {
  static const int64_t none[] = {INT64_MAX};
  struct reading r = {.frames = none, .n = 1, .fn = drop};
  LRL_TRY(pass(v, &r));
  v->info.n_frames = r.n_out;
  return LRL_OK;
}

static lrl_status open_video(struct lrl_video *v) {
  LRL_TRY(start(v));
  LRL_TRY(list_packets(v));
  if (!v->timed)
    LRL_TRY(count_by_decoding(v));
  return v->info.n_frames > 0
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_FORMAT, "the video has no frame that can be shown");
}

static lrl_status open_file(const void *bytes, size_t n_bytes, int64_t max_pixels,
                            struct lrl_video **out) {
  *out = NULL;
  struct lrl_video *v = calloc(1, sizeof *v);
  if (v == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to read a video");
  v->bytes = bytes;
  v->n_bytes = n_bytes;
  v->max_pixels = max_pixels;
  const lrl_status status = open_video(v);
  if (status != LRL_OK) {
    close_video(v);
    return status;
  }
  *out = v;
  return LRL_OK;
}

extern const struct lrl_video_decoder lrl_video_decoder;
const struct lrl_video_decoder lrl_video_decoder = {LRL_VIDEO_ABI, library,  open_file,
                                                    close_video,   get_info, read_frames};
