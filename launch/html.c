#include "launch/html.h"

#include <string.h>

/* Charts take their colours from these classes, too. Both schemes keep 4.5 : 1 for text. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c1d21;--soft:#5c606b;"
    "--line:#e2e3e6;--bad:#b3261e;--c0:#2458c5;--c1:#c2560a;--c2:#18794e;--c3:#9333a8;--c4:#856404;"
    "--c5:#bf2b45;--c6:#0b7285;--c7:#5b5f6b}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#131417;--card:#1c1e22;--ink:#e8e9ec;"
    "--soft:#a2a7b3;--line:#33363d;--bad:#ff8a80;--c0:#7ea6ff;--c1:#ffa25c;--c2:#5fd39b;"
    "--c3:#d896ec;--c4:#dcc15a;--c5:#ff8aa0;--c6:#5fcbe0;--c7:#b4b8c3}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    "main{max-width:1280px;margin:0 auto;padding:20px 16px 48px}h1{font-size:1.5rem;margin:.2em 0}"
    "h2{font-size:1.15rem;margin:2em 0 .6em}h3{font-size:.95rem;margin:0 0 .3em}"
    "p{margin:.5em 0;max-width:75ch}.soft,figcaption{color:var(--soft)}.bad{color:var(--bad)}\n"
    "code,.num,td.n{font-variant-numeric:tabular-nums}code{font-family:ui-monospace,'DejaVu Sans "
    "Mono',monospace;font-size:.9em}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}"
    "th,td{padding:4px 12px 4px 0;text-align:left;vertical-align:top;"
    "border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600}"
    "td.n,th.n{text-align:right}td.t{overflow-wrap:anywhere;min-width:8em}\n"
    ".grid{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr)"
    ")"
    "}.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;"
    "min-width:0;margin:0}\n"
    ".card .text{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0}"
    ".card .who{color:var(--soft);font-size:.8rem;margin-top:.5em}"
    ".card img{max-width:100%;border-radius:4px;margin:0 6px 4px 0;vertical-align:top}"
    ".none{display:inline-block;border:1px dashed var(--line);border-radius:4px;padding:14px 10px;"
    "color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:.6em 0;padding:0;list-style:none}"
    ".legend i{display:inline-block;width:14px;height:4px;border-radius:2px;margin-right:6px;"
    "vertical-align:middle;background:currentColor}\n"
    "svg{display:block;width:100%;height:auto;font-size:11px;overflow:visible}"
    "svg text{fill:var(--soft)}svg .axis{stroke:var(--line);stroke-width:1;fill:none}"
    "svg .curve{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round}"
    "svg .faint{stroke-width:1;opacity:.55}svg .dot{fill:currentColor}"
    "svg .area{fill:currentColor;fill-opacity:.18;stroke:currentColor;stroke-width:1.2}"
    "svg .bar{fill:currentColor;fill-opacity:.8}svg .whisker{stroke:var(--ink);stroke-width:1.2}"
    "svg .label{fill:currentColor}svg .mark{stroke:var(--soft);stroke-dasharray:3 3}\n"
    "details{margin:1em 0}summary{cursor:pointer;color:var(--soft)}"
    ".s0{color:var(--c0)}.s1{color:var(--c1)}.s2{color:var(--c2)}.s3{color:var(--c3)}"
    ".s4{color:var(--c4)}.s5{color:var(--c5)}.s6{color:var(--c6)}.s7{color:var(--c7)}\n"
    "@media print{body{background:#fff}.card{break-inside:avoid}}\n";

void lrl_html_begin(FILE *f, const char *title) {
  fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
        f);
  lrl_html_text(f, title);
  fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", style);
  lrl_html_text(f, title);
  fputs("</h1>\n", f);
}

void lrl_html_end(FILE *f) { fputs("</main>\n</body>\n</html>\n", f); }

/* ---- text ---- */

/* Bytes of the well-formed UTF-8 character at s that HTML allows; 0: none. */
static size_t character(const unsigned char *s) {
  if (s[0] < 0x80)
    return (s[0] >= 0x20 && s[0] != 0x7f) || s[0] == '\t' || s[0] == '\n' ? 1 : 0;
  const size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
                   : s[0] >= 0xe0 && s[0] <= 0xef ? 3
                   : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                                  : 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  const bool bad = (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) ||  /* C1 controls */
                   (n == 3 && s[0] == 0xe0 && s[1] < 0xa0) ||  /* too long */
                   (n == 3 && s[0] == 0xed && s[1] >= 0xa0) || /* surrogates */
                   (n == 4 && s[0] == 0xf0 && s[1] < 0x90) ||  /* too long */
                   (n == 4 && s[0] == 0xf4 && s[1] >= 0x90);   /* beyond U+10FFFF */
  return bad ? 0 : n;
}

static void put(FILE *f, const char *text, size_t n) {
  for (size_t i = 0; i < n;) {
    const size_t k = character((const unsigned char *)text + i);
    switch (text[i]) {
    case '<':
      fputs("&lt;", f);
      break;
    case '>':
      fputs("&gt;", f);
      break;
    case '&':
      fputs("&amp;", f);
      break;
    case '"':
      fputs("&quot;", f);
      break;
    case '\'':
      fputs("&#39;", f);
      break;
    default:
      fwrite(k > 0 ? text + i : "\xef\xbf\xbd", 1, k > 0 ? k : 3, f);
    }
    i += k > 0 ? k : 1;
  }
}

void lrl_html_text(FILE *f, const char *text) { put(f, text, strlen(text)); }

void lrl_html_cut(FILE *f, const char *text, size_t most) {
  size_t n = strlen(text), keep = n < most ? n : most;
  while (keep < n && keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80)
    keep--; /* not in the middle of a character */
  put(f, text, keep);
  if (keep < n)
    fprintf(f, " <span class=\"soft\">&hellip; and %zu more bytes</span>", n - keep);
}
