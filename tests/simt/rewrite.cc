/* Turns preprocessed CUDA C++ into C++ for g++: kernel<<<...>>>(...) becomes simt::launch,
 * __shared__ variables become references into the simulator's shared memory (with guard gaps), and
 * inline PTX becomes a call of simt::ptx with the same text. Everything else, and every line
 * number, stays. Reads stdin, writes stdout: g++ -E x.cu | simt_rewrite | g++ -x c++-cpp-output -.
 */
#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {
struct token {
  std::string space, text; /* white space before it, the token */
  char kind;               /* i identifier, n number, s string or char, p punctuation, # line */
  bool system;             /* in a system header: left alone */
  std::string path;
  long line;
};
std::vector<token> tokens;
struct edit {
  size_t end; /* tokens [start, end) are replaced */
  std::string text;
};
std::map<size_t, edit> edits;
std::set<size_t> own_names; /* of kernels, where they are declared */
struct kernel {
  int templates; /* parameters of its template */
  /* Another function or kernel has its name, or parameters have defaults: the arguments choose. */
  bool overloaded;
  std::string types;
  size_t at; /* first declaration */
};
std::map<std::string, kernel> kernels; /* by name */
int serial;

bool is_ident(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$'; }

void lex(const std::string &in) {
  size_t i = 0;
  std::string path = "?";
  long line = 1;
  bool system = false, at_start = true;
  while (i < in.size()) {
    token t;
    while (i < in.size() && isspace((unsigned char)in[i])) {
      if (in[i] == '\n') {
        line++;
        at_start = true;
      }
      t.space += in[i++];
    }
    if (i == in.size()) {
      t.kind = 'p';
      tokens.push_back(t);
      break;
    }
    t.system = system;
    t.path = path;
    t.line = line;
    const size_t from = i;
    if (in[i] == '#' && at_start) {
      while (i < in.size() && in[i] != '\n')
        i++;
      t.kind = '#';
      t.text = in.substr(from, i - from);
      long n;
      char name[4096] = "";
      int used = 0;
      if (sscanf(t.text.c_str(), "# %ld \"%4095[^\"]\"%n", &n, name, &used) >= 2) {
        line = n - 1; /* the end of this line counts */
        path = name;
        system = used > 0 && strchr(t.text.c_str() + used, '3') != NULL;
      }
    } else if (in[i] == '"' || in[i] == '\'') {
      const char quote = in[i++];
      while (i < in.size() && in[i] != quote)
        i += in[i] == '\\' ? 2 : 1;
      i++;
      t.kind = 's';
    } else if (is_ident(in[i]) && !isdigit((unsigned char)in[i])) {
      while (i < in.size() && is_ident(in[i]))
        i++;
      t.kind = 'i';
      if (in[i] == '"' && in[i - 1] == 'R') { /* raw string */
        const size_t open = in.find('(', i);
        const std::string close = ")" + in.substr(i + 1, open - i - 1) + "\"";
        i = in.find(close, open) + close.size();
        t.kind = 's';
      }
    } else if (isdigit((unsigned char)in[i])) {
      while (i < in.size() && (is_ident(in[i]) || in[i] == '.' || in[i] == '\'' ||
                               ((in[i] == '+' || in[i] == '-') && strchr("eEpP", in[i - 1]))))
        i++;
      t.kind = 'n';
    } else {
      i += in.compare(i, 3, "<<<") == 0 ? 3 : in.compare(i, 2, "::") == 0 ? 2 : 1;
      t.kind = 'p';
    }
    t.text = in.substr(from, i - from);
    at_start = false;
    tokens.push_back(t);
  }
}

std::string text(size_t from, size_t to) {
  std::string s;
  for (size_t i = from; i < to; i++) /* without line markers of macros in the middle */
    if (tokens[i].kind != '#')
      s += (s.empty() || tokens[i].space.empty() ? "" : " ") + tokens[i].text;
  return s;
}
bool is(size_t i, const char *t) { return i < tokens.size() && tokens[i].text == t; }
/* Index behind the bracket that closes the one at i. */
size_t closing(size_t i) {
  int depth = 0;
  for (; i < tokens.size(); i++) {
    const std::string &t = tokens[i].text;
    if (t == "(" || t == "[" || t == "{")
      depth++;
    else if ((t == ")" || t == "]" || t == "}") && --depth == 0)
      return i + 1;
  }
  return i;
}
/* Index behind the `>` that closes the `<` at i. */
size_t closing_angle(size_t i) {
  int depth = 0;
  for (; i < tokens.size();) {
    if (is(i, "(") || is(i, "[") || is(i, "{")) {
      i = closing(i);
      continue;
    }
    if (is(i, "<"))
      depth++;
    else if (is(i, ">") && --depth == 0)
      return i + 1;
    i++;
  }
  return i;
}
/* Top-level pieces between commas of [from, to). */
std::vector<std::string> split(size_t from, size_t to) {
  std::vector<std::string> parts;
  size_t start = from;
  for (size_t i = from; i < to;) {
    if (is(i, "(") || is(i, "[") || is(i, "{")) {
      i = closing(i);
      continue;
    }
    if (is(i, ",")) {
      parts.push_back(text(start, i));
      start = i + 1;
    }
    i++;
  }
  if (start < to)
    parts.push_back(text(start, to));
  return parts;
}
int count_template_arguments(size_t open) {
  int n = 1, angle = 0;
  const size_t end = closing_angle(open);
  for (size_t i = open; i < end;) {
    if (is(i, "(") || is(i, "[") || is(i, "{")) {
      i = closing(i);
      continue;
    }
    angle += is(i, "<") ? 1 : is(i, ">") ? -1 : 0;
    n += is(i, ",") && angle == 1;
    i++;
  }
  return end == open + 2 ? 0 : n;
}
/* Start of the template argument list whose `>` is at i. */
size_t opening_angle(size_t i) {
  int depth = 0, round = 0;
  for (;; i--) {
    const std::string &t = tokens[i].text;
    round += t == ")" ? 1 : t == "(" ? -1 : 0;
    if (round == 0 && t == ">")
      depth++;
    if (round == 0 && t == "<" && --depth == 0)
      return i;
    if (i == 0)
      return 0;
  }
}

/* Types of the parameters in the parentheses at `open`, as far as tokens tell: names of one token
 * at the end go. */
std::string parameter_types(size_t open) {
  std::string types;
  for (size_t i = open + 1, from = i, end = closing(open); i < end;) {
    const bool last = i == end - 1;
    if (is(i, ",") || last) {
      const bool named = i > from + 1 && tokens[i - 1].kind == 'i' && !is(i - 1, "const") &&
                         !is(i - 1, "int") && !is(i - 1, "char") && !is(i - 1, "long");
      types += text(from, named ? i - 1 : i) + ",";
      from = i + 1;
    }
    i = !last && (is(i, "(") || is(i, "[") || is(i, "{")) ? closing(i)
        : is(i, "<") && tokens[i - 1].kind == 'i'         ? closing_angle(i)
                                                          : i + 1;
  }
  return types;
}
void find_kernel(size_t i) {
  size_t name = i + 1;
  const auto opens = [](size_t n) { return is(n + 1, "<") ? closing_angle(n + 1) : n + 1; };
  while (name < tokens.size() &&
         !(tokens[name].kind == 'i' && is(opens(name), "(") && !is(name, "__attribute__")))
    name += is(name, "(") ? closing(name) - name : 1;
  size_t before = i;
  while (before > 0 && (is(before - 1, "static") || is(before - 1, "inline") ||
                        is(before - 1, "extern") || tokens[before - 1].kind == 's'))
    before--;
  const bool templated = before > 0 && is(before - 1, ">");
  const int n = templated ? count_template_arguments(opening_angle(before - 1)) : 0;
  const std::string types = parameter_types(opens(name));
  const auto k = kernels.emplace(tokens[name].text, kernel{n, false, types, name}).first;
  if (is(name + 1, "("))
    k->second.overloaded = k->second.overloaded || k->second.types != types ||
                           k->second.templates != n || types.find('=') != std::string::npos;
  edits[i] = {i + 1, ""};
  own_names.insert(name);
  const size_t body = closing(opens(name));
  if (is(body, "{")) /* a pointer to it, called on the host like any function */
    edits[body] = {body + 1, "{ if (simt::unlaunched()) return;"};
}
/* Functions of the host that have the name of a kernel: declared, or called. */
void find_namesakes() {
  for (size_t i = 1; i < tokens.size(); i++) {
    if (tokens[i].system || !is(i + 1, "(") || is(i - 1, ".") || own_names.count(i) != 0)
      continue;
    const auto k = kernels.find(tokens[i].text);
    if (k != kernels.end())
      k->second.overloaded = true;
  }
}

void find_launch(size_t at) {
  size_t from = at - 1;
  std::string callee_name;
  int given = 0;
  if (is(from, ">")) {
    const size_t open = opening_angle(from);
    given = count_template_arguments(open);
    from = open - 1;
  } else if (is(from, ")")) {
    int depth = 0;
    for (;; from--) {
      depth += is(from, ")") ? 1 : is(from, "(") ? -1 : 0;
      if (depth == 0)
        break;
    }
    if (is(from + 2, "<"))
      given = count_template_arguments(from + 2);
    callee_name = tokens[from + 1].text;
  }
  if (callee_name.empty())
    callee_name = tokens[from].text;
  while (from >= 2 && is(from - 1, "::")) {
    from -= 2;
    if (is(from, ">"))
      from = opening_angle(from) - 1;
  }
  size_t end = at + 1;
  while (end < tokens.size() && !(is(end, ">") && is(end + 1, ">") && is(end + 2, ">") &&
                                  tokens[end + 1].space.empty() && tokens[end + 2].space.empty()))
    end = is(end, "(") || is(end, "[") || is(end, "{") ? closing(end) : end + 1;
  const size_t open = end + 3, close = closing(open);
  std::string callee = text(from, at), args;
  for (const std::string &a : split(open + 1, close - 1))
    args += ", " + (a == "NULL" || a == "__null" ? std::string("nullptr") : a);
  const auto k = kernels.find(callee_name);
  const bool deduced = k != kernels.end() && (k->second.overloaded || given < k->second.templates);
  std::string config = "simt::config(";
  bool first = true;
  for (const std::string &c : split(at + 1, end)) {
    config += (first ? "" : ", ") + c;
    first = false;
  }
  std::string out = std::string(deduced ? "simt::launch_deduced(" : "simt::launch(") + config +
                    "), \"" + callee_name + "\", ";
  out += deduced ? "[=](auto... simt_x) { " + callee + "(simt_x...); }" : callee;
  edits[from] = {close, out + args + ")"};
}

/* (void *)kernel and reinterpret_cast<void *>(kernel): the pointer alone does not know the types of
 * the kernel's parameters; simt::kernel_pointer notes them. `at` stands behind the star. */
void find_pointer(size_t at) {
  size_t before = at - 1, name = at + 1;
  while (before > 0 && (is(before, "*") || is(before, "const")))
    before--;
  if (!is(before, "void") || !(is(at, ")") || (is(at, ">") && is(at + 1, "("))))
    return;
  name += is(at, ">");
  name += is(name, "&");
  const size_t from = name;
  while (is(name + 1, "::"))
    name += 2;
  const auto k = name < tokens.size() ? kernels.find(tokens[name].text) : kernels.end();
  if (k == kernels.end() || name < k->second.at)
    return;
  const size_t end = is(name + 1, "<") ? closing_angle(name + 1) : name + 1;
  if (!is(end, "<<<") && !is(end, "("))
    edits[from] = {end,
                   "simt::kernel_pointer(\"" + tokens[name].text + "\", " + text(from, end) + ")"};
}

void find_shared(size_t at) {
  size_t from = at, end = at;
  /* From the statement's first word: the type may stand before the word, too. */
  while (from > 0 && !is(from - 1, ";") && !is(from - 1, "{") && !is(from - 1, "}") &&
         !is(from - 1, ":") && !is(from - 1, ")") && tokens[from - 1].kind != '#')
    from--;
  while (end < tokens.size() && !is(end, ";"))
    end = is(end, "(") || is(end, "[") || is(end, "{") ? closing(end) : end + 1;
  bool dynamic = false;
  std::string type, out;
  size_t i = from;
  for (; i < end; i++) { /* the type: up to the identifier before [ , = or the end */
    if (is(i, "extern") || is(i, "static") || is(i, "__shared__")) {
      dynamic = dynamic || is(i, "extern");
    } else if (is(i, "alignas")) {
      type += " __attribute__((aligned" + text(i + 1, closing(i + 1)) + "))";
      i = closing(i + 1) - 1;
    } else if (is(i, "__attribute__")) {
      type += " " + text(i, closing(i + 1));
      i = closing(i + 1) - 1;
    } else if (is(i, "<")) {
      const size_t c = closing_angle(i);
      type += text(i, c);
      i = c - 1;
    } else if (tokens[i].kind == 'i' &&
               (i + 1 == end || is(i + 1, "[") || is(i + 1, ",") || is(i + 1, "="))) {
      break;
    } else {
      type += " " + tokens[i].text;
    }
  }
  while (i < end) { /* declarators */
    const std::string name = tokens[i].text;
    size_t d = i + 1;
    while (d < end && is(d, "["))
      d = closing(d);
    const std::string dims = text(i + 1, d), n = std::to_string(serial++);
    if (dynamic) {
      const size_t first = closing(i + 1); /* T name[][N]: pointer to T[N] */
      out += "typedef " + type + " simt_t" + n + text(first, d) + "; simt_t" + n + " *const " +
             name + " = reinterpret_cast<simt_t" + n + " *>(simt::dynamic_shared); (void)" + name +
             ";";
    } else {
      out += "typedef " + type + " simt_t" + n + dims + "; static simt::shared_key simt_k" + n +
             "; simt_t" + n + " &" + name + " = *reinterpret_cast<simt_t" + n +
             " *>(simt::static_shared(&simt_k" + n + ", sizeof(simt_t" + n + "), alignof(simt_t" +
             n + "), \"" + name + "\"));";
    }
    i = d;
    while (i < end && !is(i, ","))
      i++;
    i++;
    while (i < end && tokens[i].kind != 'i')
      i++;
  }
  edits[from] = {end + 1, out};
}

/* asm volatile("..." : "=r"(x) : "r"(y) : "memory") */
void find_asm(size_t at) {
  size_t open = at + 1;
  while (is(open, "volatile") || is(open, "__volatile__"))
    open++;
  if (!is(open, "("))
    return;
  const size_t close = closing(open);
  std::vector<size_t> colons;
  for (size_t i = open + 1; i < close - 1;) {
    if (is(i, "(") || is(i, "[") || is(i, "{")) {
      i = closing(i);
      continue;
    }
    if (is(i, ":"))
      colons.push_back(i);
    if (is(i, "::")) {
      colons.push_back(i);
      colons.push_back(i);
    }
    i++;
  }
  colons.resize(3 > colons.size() ? colons.size() : 3);
  while (colons.size() < 3)
    colons.push_back(close - 1);
  std::string operands;
  for (int part = 0; part < 2; part++)
    for (size_t i = colons[part] + 1; i < colons[part + 1];) {
      if (is(i, ",")) {
        i++;
        continue;
      }
      const size_t end = closing(i + 1);
      operands += (operands.empty() ? "" : ", ") +
                  std::string(part == 0 ? "simt::ptx_out(" : "simt::ptx_in(") + tokens[i].text +
                  ", " + text(i + 2, end - 1) + ")";
      i = end;
    }
  const size_t slash = tokens[at].path.rfind('/');
  const std::string site = tokens[at].path.substr(slash == std::string::npos ? 0 : slash + 1) +
                           ":" + std::to_string(tokens[at].line);
  edits[at] = {close, "simt::ptx(\"" + site + "\", " + text(open + 1, colons[0]) + ", {" +
                          operands + "})"};
}
} // namespace

int main() {
  std::string in((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  lex(in);
  for (size_t i = 0; i < tokens.size(); i++)
    if (!tokens[i].system && is(i, "__global__"))
      find_kernel(i);
  find_namesakes();
  for (size_t i = 0; i < tokens.size(); i++) {
    if (tokens[i].system || tokens[i].kind == '#')
      continue;
    if (is(i, "__noinline__") && !is(i - 1, "("))
      edits[i] = {i + 1, "__attribute__((noinline))"};
    else if (is(i, "<<<"))
      find_launch(i);
    else if ((is(i, ")") || is(i, ">")) && i > 1 && is(i - 1, "*"))
      find_pointer(i);
    else if (is(i, "__shared__"))
      find_shared(i);
    else if (is(i, "asm") || is(i, "__asm__") || is(i, "__asm"))
      find_asm(i);
  }
  bool loops = false; /* there may be loops that wait for a volatile variable */
  for (size_t i = 1; i < tokens.size(); i++)
    loops = loops || (!tokens[i].system && is(i, "volatile") && !is(i - 1, "asm") &&
                      !is(i - 1, "__asm__") && !is(i - 1, "__asm"));
  bool moved = false; /* a line marker stands in place of the white space */
  for (size_t i = 0; i < tokens.size();) {
    std::cout << (moved ? "" : tokens[i].space);
    const auto e = edits.find(i);
    if (e != edits.end()) {
      std::cout << e->second.text;
      moved = tokens[i].line != tokens[e->second.end].line;
      i = e->second.end;
      if (moved) /* what follows keeps its line */
        std::cout << "\n# " << tokens[i].line << " \"" << tokens[i].path << "\"\n";
    } else {
      std::cout << tokens[i++].text;
      moved = false;
    }
  }
  if (loops)
    std::cout << "/* simt: volatile */\n";
  return 0;
}
