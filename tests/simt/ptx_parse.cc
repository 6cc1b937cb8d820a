/* Text of inline PTX to instructions. */
#include "ptx.h"

#include <stdlib.h>

namespace simt {
static std::string trim(const std::string &s) {
  const size_t a = s.find_first_not_of(" \t\r\n"), b = s.find_last_not_of(" \t\r\n");
  return a == std::string::npos ? "" : s.substr(a, b - a + 1);
}
static std::vector<std::string> split(const std::string &s, char at) {
  std::vector<std::string> parts;
  int depth = 0;
  std::string now;
  for (char c : s) {
    depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
    if (c == at && depth == 0) {
      parts.push_back(trim(now));
      now.clear();
    } else {
      now += c;
    }
  }
  if (!trim(now).empty())
    parts.push_back(trim(now));
  return parts;
}
static ptx_arg parse_arg(std::string s) {
  ptx_arg a;
  if (s[0] == '[') {
    a.memory = true;
    s = trim(s.substr(1, s.find(']') - 1));
    const size_t plus = s.find_first_of("+-", 1);
    if (plus != std::string::npos) {
      a.offset = strtoll(trim(s.substr(plus)).c_str() + (s[plus] == '+'), NULL, 0);
      s = trim(s.substr(0, plus));
    }
    a.names.push_back(s);
  } else if (s[0] == '{') {
    a.names = split(s.substr(1, s.rfind('}') - 1), ',');
  } else {
    a.names.push_back(s);
  }
  return a;
}
static ptx_line parse_line(std::string s) {
  ptx_line l;
  if (s[0] == '@') {
    const size_t end = s.find_first_of(" \t");
    l.negated = s[1] == '!';
    l.guard = s.substr(l.negated ? 2 : 1, end - (l.negated ? 2 : 1));
    s = trim(s.substr(end));
  }
  const size_t end = s.find_first_of(" \t");
  l.op = s.substr(0, end);
  std::string dotted = l.op;
  size_t from = dotted[0] == '.' ? 1 : 0;
  while (from <= dotted.size()) {
    const size_t dot = dotted.find('.', from);
    l.parts.push_back(dotted.substr(from, dot - from));
    if (dot == std::string::npos)
      break;
    from = dot + 1;
  }
  if (l.parts[0] != "reg" && end != std::string::npos)
    for (const std::string &a : split(s.substr(end), ','))
      l.args.push_back(parse_arg(a));
  return l;
}
/* A brace that opens a scope follows the start, a semicolon or another such brace. */
std::vector<ptx_line> parse_ptx(const char *text) {
  std::vector<ptx_line> lines;
  std::string now;
  int depth = 0;
  for (const char *c = text; *c != '\0'; c++) {
    if (c[0] == '%' && c[1] == '%')
      c++;
    if (c[0] == '/' && c[1] == '/') {
      while (c[1] != '\0' && c[1] != '\n')
        c++;
      continue;
    }
    if (*c == '{' && trim(now).empty())
      continue;
    depth += *c == '{' ? 1 : *c == '}' ? -1 : 0;
    if (depth < 0) {
      depth = 0;
      continue;
    }
    if (*c == ';') {
      if (!trim(now).empty())
        lines.push_back(parse_line(trim(now)));
      now.clear();
    } else {
      now += *c == '\n' || *c == '\t' ? ' ' : *c;
    }
  }
  if (!trim(now).empty())
    lines.push_back(parse_line(trim(now)));
  return lines;
}
} // namespace simt
