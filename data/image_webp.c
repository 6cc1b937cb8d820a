#include "data/image_codec.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

static const char *text_of(VP8StatusCode code) {
  switch (code) {
  case VP8_STATUS_OUT_OF_MEMORY:
    return "no memory";
  case VP8_STATUS_NOT_ENOUGH_DATA:
  case VP8_STATUS_SUSPENDED:
    return "it is truncated";
  case VP8_STATUS_UNSUPPORTED_FEATURE:
    return "it uses an unknown feature";
  default:
    return "its data is damaged";
  }
}

/* The decoder alone would overlook chunks that are cut off or out of place. */
static bool chunks_are_whole(const uint8_t *bytes, size_t n) {
  const WebPData data = {bytes, n};
  WebPDemuxer *d = WebPDemux(&data);
  WebPDemuxDelete(d);
  return d != NULL;
}

static lrl_status features(const uint8_t *bytes, size_t n, WebPBitstreamFeatures *f) {
  VP8StatusCode code = WebPGetFeatures(bytes, n, f);
  if (code != VP8_STATUS_OK)
    return LRL_FAIL(LRL_ERR_FORMAT, "cannot read the WebP image: %s", text_of(code));
  if (!chunks_are_whole(bytes, n))
    return LRL_FAIL(LRL_ERR_FORMAT, "the WebP image is truncated or damaged");
  return LRL_OK;
}

static lrl_status size(const uint8_t *bytes, size_t n, int64_t *width, int64_t *height) {
  WebPBitstreamFeatures f;
  LRL_TRY(features(bytes, n, &f));
  *width = f.width;
  *height = f.height;
  return LRL_OK;
}

static lrl_status first_frame(const uint8_t *bytes, size_t n, int32_t width, int32_t height,
                              uint8_t *rgb) {
  const WebPData data = {bytes, n};
  WebPAnimDecoder *d = WebPAnimDecoderNew(&data, NULL);
  uint8_t *rgba = NULL;
  int time_ms;
  WebPAnimInfo info;
  bool ok = d != NULL && WebPAnimDecoderGetInfo(d, &info) && info.canvas_width == (uint32_t)width &&
            info.canvas_height == (uint32_t)height && WebPAnimDecoderGetNext(d, &rgba, &time_ms);
  for (int64_t i = 0; ok && i < (int64_t)width * height; i++)
    memcpy(rgb + 3 * i, rgba + 4 * i, 3);
  WebPAnimDecoderDelete(d);
  return ok ? LRL_OK
            : LRL_FAIL(LRL_ERR_FORMAT, "the first frame of the animated WebP image is damaged");
}

static lrl_status decode(const uint8_t *bytes, size_t n, int32_t width, int32_t height,
                         uint8_t *rgb) {
  WebPDecoderConfig c;
  if (!WebPInitDecoderConfig(&c))
    return LRL_FAIL(LRL_ERR_LIB, "libwebp's headers and library are of different versions");
  LRL_TRY(features(bytes, n, &c.input));
  if (c.input.has_animation)
    return first_frame(bytes, n, width, height, rgb);
  c.output.colorspace = MODE_RGB;
  c.output.is_external_memory = 1;
  c.output.u.RGBA.rgba = rgb;
  c.output.u.RGBA.stride = 3 * width;
  c.output.u.RGBA.size = (size_t)width * (size_t)height * 3;
  VP8StatusCode code = WebPDecode(bytes, n, &c);
  WebPFreeDecBuffer(&c.output);
  if (code != VP8_STATUS_OK)
    return LRL_FAIL(LRL_ERR_FORMAT, "cannot decode the WebP image: %s", text_of(code));
  return LRL_OK;
}

const struct lrl_image_codec lrl_image_webp = {"WebP", size, decode};
