#include "data/video_decode.h"

#include <string.h>

static const struct {
  const char *magic;
  size_t at, n;
  const char *name; /* of FFmpeg's demuxer */
} containers[] = {
    {"moov", 4, 4, "mov"},        {"mdat", 4, 4, "mov"},
    {"wide", 4, 4, "mov"},        {"free", 4, 4, "mov"},
    {"skip", 4, 4, "mov"},        {"\x1a\x45\xdf\xa3", 0, 4, "matroska"},
    {"AVI ", 8, 4, "avi"},        {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, 8, "asf"},
    {"FLV\1", 0, 4, "flv"},       {"OggS", 0, 4, "ogg"},
    {"\0\0\1\xba", 0, 4, "mpeg"},
};
/* ISO media files that are no videos. */
static const char *const still_brands[] = {"avif", "avis", "heic", "heix", "hevc", "heim",
                                           "heis", "hevx", "mif1", "msf1", "crx "};

static bool is_iso_video(const char *b, size_t n) {
  if (n < 12 || memcmp(b + 4, "ftyp", 4) != 0)
    return false;
  for (size_t i = 0; i < sizeof still_brands / sizeof *still_brands; i++)
    if (memcmp(b + 8, still_brands[i], 4) == 0)
      return false;
  return true;
}

/* Packets of 188 bytes, each beginning with 0x47; on Blu-ray discs and in cameras (.m2ts) behind 4
 * bytes of time. */
static bool is_transport_stream(const char *b, size_t n) {
  enum { PACKET = 188, STAMP = 4, SYNC = 0x47 };
  for (size_t stamp = 0; stamp <= STAMP; stamp += STAMP) {
    const size_t step = PACKET + stamp;
    if (n >= 3 * step && b[stamp] == SYNC && b[stamp + step] == SYNC && b[stamp + 2 * step] == SYNC)
      return true;
  }
  return false;
}

const char *lrl_video_container(const void *bytes, size_t n_bytes) {
  const char *b = bytes;
  for (size_t i = 0; i < sizeof containers / sizeof *containers; i++)
    if (n_bytes >= containers[i].at + containers[i].n &&
        memcmp(b + containers[i].at, containers[i].magic, containers[i].n) == 0)
      return containers[i].name;
  return is_iso_video(b, n_bytes) ? "mov" : is_transport_stream(b, n_bytes) ? "mpegts" : NULL;
}
