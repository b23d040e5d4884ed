#!/usr/bin/env python3
"""Small templates rendered by jinja2 in transformers' chat environment, to compare with.

    pip install transformers==5.23.0 jinja2==3.1.6
    python3 tools/gen-template-snippets.py tests/golden/templates/context.json > more.jsonl

Each value of VALUES meets each of FILTERS, TESTS and METHODS, each pair of values each operator;
LANGUAGE holds the rest.  One row a template: {template, expected} or {template, when, error}.
A second argument N keeps every Nth row after LANGUAGE.  Left out: texts that show a Python
object's address or class, complex numbers, and slices of literal numbers (Jinja's constant folding
swallows their error).
"""
import datetime as dt
import json
import re
import sys

import transformers.utils.chat_template_utils as ctu


class Frozen(dt.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 2, 3, 4, 5, 6)


ctu.datetime = Frozen

VALUES = ["n", "neg", "f", "t", "no", "nul", "s", "pad", "u", "html", "empty", "csv", "multi", "items",
          "words", "nil", "nested", "d", "e", "msgs", "missing", "(1, 'a')", "range(4)", "'12'", "' 3.5 '",
          "-0.0", "1e22", "'ÀÉ ß x'", "[none, true]", "d.items()", "'%d-%s'", "10 ** 20", "0", "2.675", "msgs|map(attribute='role')"]
FILTERS = ["abs", "attr('x')", "batch(2)|list", "capitalize", "center(9)", "count", "default('D')",
           "default('D', true)", "dictsort", "e", "filesizeformat", "first", "float", "float(1.5)",
           "forceescape", "groupby('role')|list|length", "indent", "indent(2, true)", "int", "int(9)",
           "int(base=16)", "items|list", "join", "join('-')", "last", "length", "list", "lower",
           "map('string')|list", "map('upper')|join(',')", "max", "min", "pprint|length > 0", "reject|list",
           "replace('a', 'b')", "reverse|list", "round", "round(1)", "round(1, 'floor')", "round(-1)", "safe",
           "select|list", "select('string')|list", "slice(2)|list", "sort", "sort(reverse=true)", "string",
           "striptags", "sum", "title", "tojson", "tojson(indent=2)", "tojson(true)", "trim", "trim('d ')",
           "truncate(5)", "truncate(4, true, '.', 0)", "unique|list", "upper", "urlencode", "wordcount",
           "wordwrap(6)", "xmlattr", "list|first", "list|length", "format(1, 2)", "select('mapping')|list",
           "map(attribute='role')|list", "map(attribute=0)|list", "tojson|length"]
TESTS = ["boolean", "callable", "defined", "divisibleby 2", "eq 7", "escaped", "even", "false", "float",
         "ge 3", "gt 3", "in [7, 'a', none]", "integer", "iterable", "le 3", "lower", "lt 3", "mapping",
         "ne 7", "none", "number", "odd", "sameas none", "sequence", "string", "true", "undefined", "upper",
         "not string", "not defined"]
METHODS = ["upper()", "split()", "split('l')", "strip()", "title()", "capitalize()", "items()|list",
           "keys()|list", "get('b')", "get('zz', 1)", "count('l')", "index(1)", "startswith('He')", "x", "0",
           "items", "format(1)", "join(['a', 'b'])", "append(1)", "pop()", "copy()", "splitlines()",
           "isdigit()", "casefold()", "zfill(14)", "expandtabs()", "partition(' ')", "encode()", "real",
           "islower()", "istitle()", "swapcase()", "find('')", "replace('', '-')", "__class__", "_x"]
SUBSCRIPTS = ["[0]", "[-1]", "[1:]", "[:2]", "[::-1]", "[::2]", "['b']", "['upper']", "[none]", "[1.5]", "[99]",
              "[true]", "[-2:5:2]", "[5:1:-1]"]
OPERANDS = ["n", "neg", "f", "t", "s", "'l'", "items", "[1]", "nul", "d", "missing", "0", "0.0", "(1,)", "'7'"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or"]

LANGUAGE = r'''
{{ '%5.1f|%-6d|%+d|%06.2f|%e|%g' % (3.14159, 42, 7, 2.5, 12345.678, 0.0001) }}
{{ '%s %r %a' % ('é', 'é', 'é') }} {{ '%(a)s-%(b)03d' % {'a': 1, 'b': 2} }} {{ '%%' % () }} {{ '%c%c' % ('x', 65) }}
{{ '%x %X %o %#x %#o' % (255, 255, 8, 255, 8) }} {{ '%5s|%-5s|%.2s' % ('ab', 'ab', 'abc') }} {{ '%*d' % (5, 3) }}
{{ '%d' % 3.99 }} {{ '%i' % true }} {{ '%s' % none }} {{ '%s' % [1, 2] }} {{ '%s %s' % ('a',) }}
{{ '%d' % 'x' }}
{{ '{:>8}|{:<8}|{:^8}|{:*^8}'.format('ab', 'ab', 'ab', 'ab') }} {{ '{:08.3f} {:+} {:,} {:_}'.format(3.14159, 5, 1234567, 1234567) }}
{{ '{:x} {:#x} {:b} {:o} {:e} {:g} {:%}'.format(255, 255, 5, 8, 1234.5, 0.00001, 0.25) }} {{ '{0[a]} {1[0]} {2.real}'.format({'a': 1}, [5], 7) }}
{{ '{!r} {!s} {!a}'.format('é', 'é', 'é') }} {{ '{{}} {}'.format(1) }} {{ '{:{}}'.format('x', 5) }} {{ '{a}{b}'.format(a=1, b='z') }}
{{ '{:d}'.format('x') }}
{{ '{}'.format() }}
{{ '{} {0}'.format(1, 2) }}
{{ '{:.3}|{:10.2}|{:s}'.format('abcdef', 'xyz', 'q') }} {{ '{:5}|{:<5}|{:^5}|{:=+5}'.format(42, 42, 42, 42) }} {{ '{:.2f}'.format(2) }} {{ '{:n}'.format(5) }}
{{ '{}'.format(none) }} {{ '{}'.format([1, 'a']) }} {{ '{:>5}'.format(true) }} {{ '{:10}'.format(1.5) }} {{ '{:,.2f}'.format(1234567.891) }}
{{ 1.0 }} {{ 100.0 }} {{ 1e15 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 0.00001 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7 % -3 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 0.0 % 3 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 10 ** 30 }}
{{ 1 + true }} {{ true + true }} {{ false * 3 }} {{ true == 1 }} {{ 1 in [true] }} {{ {1: 'a', true: 'b'} }} {{ {1: 'a'}[1.0] }} {{ {'a': 1} == {'a': 1.0} }}
{{ 3 < 3.5 < 4 }} {{ 'a' < 'B' }} {{ [1, 2] < [1, 3] }} {{ (1, 2) == [1, 2] }} {{ none < 1 }}
{{ not 1 }} {{ not '' }} {{ not [] or 3 }} {{ 1 and 0 or 2 }} {{ none is none and not false }} {{ 1 == 1 != 2 }} {{ 3 > 2 > 1 > 0 }}
{{ 'a' if false }}|{{ 1 if 0 else 2 if 0 else 3 }} {{ (1 if true else 2) + 1 }} {{ 'x' ~ ('y' if n else 'z') }}
{{ (missing if false) }} {{ ('a' if false) is defined }} {{ ('a' if false).x }}
{% set a = 1, 2 %}{{ a }} {% set (b, c) = (3, 4) %}{{ b }}{{ c }} {% set d2, = [5] %}{{ d2 }}
{% set a = b = 1 %}
{% set 5 = 1 %}
{% set x.y = 1 %}
{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{% set ns.a, y = 5, 6 %}{{ ns.a }}{{ ns.b }}{{ y }} {{ ns.zz }} {{ ns['a'] }} {{ ns.get }}
{% set ns = namespace(c=0) %}{% for i in range(5) if i % 2 %}{% set ns.c = ns.c + i %}{% endfor %}{{ ns.c }}
{% set ns = namespace(found=false) %}{% for i in items if not ns.found %}{{ i }}{% set ns.found = true %}{% endfor %}
{% set ns = namespace(found=false) %}{% for i in items if not ns.found %}{{ i }}{{ loop.last }}{% set ns.found = true %}{% endfor %}
{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }} {% endfor %}
{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{% endfor %}
{% for i in items|map('string') %}{{ i }}{{ loop.length }}{{ loop.last }}{% endfor %}
{% for i in [1, 1, 2, 2, 3] %}{% if loop.changed(i) %}{{ i }}{% endif %}{% endfor %}{% for i in [] %}x{% else %}none{% endfor %}
{% for i in range(3) if i > 5 %}x{% else %}else {{ i is defined }}{% endfor %}
{% for i in range(6) %}{% if i == 1 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% else %}never{% endfor %}
{% for k, v in d|dictsort %}{{ k }}:{{ v }} {% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [[1]] %}{{ a }}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in nul %}{% endfor %}
{% break %}
{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for i in range(2) %}{% set x %}a{{ i }}{% endset %}{{ x }}{% endfor %}{{ x is defined }}
{% for n in [1] recursive %}{{ n }}{% if n < 3 %}{{ loop([n + 1]) }}{{ loop.depth }}{% endif %}{% endfor %}
{% for i in [1] %}{{ loop([1]) }}{% endfor %}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}
{% macro m(a) %}[{{ a }}]{{ a is defined }}{% endmacro %}{{ m() }}
{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}
{% macro m() %}{{ kwargs }}|{{ varargs }}{% endmacro %}{{ m(1, a=2) }}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.caller }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(y=1) }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1, x=2) }}
{% macro m(x) %}{% endmacro %}{% call m(1) %}x{% endcall %}
{% macro list_all(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(v, i) list_all(items) %}{{ i }}={{ v }};{% endcall %}
{% macro a() %}{% call b() %}A{% endcall %}{% endmacro %}{% macro b() %}<{{ caller() }}>{% endmacro %}{{ a() }}
{% set g = 'G' %}{% macro m() %}{{ g }}{% set g = 'L' %}{{ g }}{% endmacro %}{{ m() }}{{ g }}
{% set g = 1 %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 2 %}{{ m() }}
{% if true %}{% macro m() %}in{% endmacro %}{% endif %}{{ m() }} {% for i in [1] %}{% macro k() %}{{ i }}{% endmacro %}{{ k() }}{% endfor %}{{ k is defined }}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }} {% with a = 1 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}{% endwith %}
{% filter upper %}a{{ 'b' }}{% endfilter %} {% filter replace('a', 'b')|trim %} aa {% endfilter %}|
{% set x | upper | replace('A', '_') %}abc{% endset %}{{ x }}
{% block t %}{{ 1 }}{% endblock %} {{ self.t() }} {% block t2 scoped %}2{% endblock t2 %}
{% block t %}{% endblock %}{% block t %}{% endblock %}
{% set a = 1 %}{% block b %}{{ a }}{% set a = 2 %}{{ a }}{% endblock %}{{ a }} {% for i in [1] %}{% block c %}{{ i is defined }}{% endblock %}{% endfor %}
{% print 1, 'a' %} {% print s %}
{% if 1 %}a{% elif %}b{% endif %}
{% if %}{% endif %}
{% endif %}
{% for i in items %}{% endif %}{% endfor %}
{% else %}
{% macro %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% set %}
{% call 5 %}{% endcall %}
{{ }}
{{ 1 2 }}
{{ 'a' 'b' ~ 'c' }} {{ "it's" }} {{ 'say "hi"' }} {{ ['it\'s', "q\"q", 'both\'"'] }}
{{ 1 + }} {{
{{ (1, 2 }}
{{ [1, 2) }}
{{ {1} }}
{{ {'a' 1} }}
{{ a..b }}
{{ a.1.2 }}
{{ items.0 }} {{ items.0.real }} {{ nested.0.1 }} {{ nested[0][1] }} {{ d.a.x.0 }}
{{ 1 if }}
{{ x is }}
{{ x | }}
{{ foo(a=1, 2) }}
{{ foo(*a, *b) }}
{{ dict(**{'a': 1}) }} {{ dict([('a', 1), ('b', 2)]) }} {{ dict(d, z=1)|length }} {{ dict(*[{'q': 1}]) }} {{ dict.fromkeys(['a', 'b'], 0) }}
{{ '\x41\u00e9\101\n\t\\' }} {{ '\q' }} {{ '\é' }} {{ 'a\
b' }}
{{ 'line1
line2' }}
{{ 0x1f + 0b11 + 0o17 + 1_000 }} {{ 1_0.5_0 }} {{ 1e-3 }} {{ 1E3 }} {{ 00 }}
{{ 007 }}
{{ 1. }}
{{ .5 }}
{{ 1.e5 }}
{{ true }}{{ True }}{{ none }}{{ None }}{{ false }}{{ False }} {{ TRUE is defined }} {{ loop is defined }} {{ self is defined }}
{# multi
line #}x{#- a -#} y {# b +#}
z
{%- raw %} {{ x }} {% endraw -%}  end {% raw %}{% if %}{%- endraw %}
{% raw %}never closed
{# never closed
a {%- if true +%}
  b
{%+ endif %}
c
  {%- set x = 1 +%}

  d
{{ s -}}  x {{- n }}
  {{+ n }}
a
  {% if true -%}
  b
  {%- endif %}
  c
   {#- c1 #}
   {# c2 #}
d
{% for i in range(2) %}
  {% if i %}
    {{ i }}
  {% else %}
    zero
  {% endif %}
{% endfor %}
x  {% if true %}y{% endif %}  z
	{% set a = 1 %}	
b
{{ msgs|selectattr('name', 'defined')|map(attribute='name')|join }} {{ msgs|rejectattr('name', 'defined')|list|length }} {{ msgs|selectattr('role', 'in', ['user'])|list|length }}
{{ msgs|groupby('role')|first }} {% for g in msgs|groupby('role') %}{{ g.grouper }}{{ g.list|length }}{{ g[0] }}{% endfor %}
{{ msgs|sort(attribute='role,content')|map(attribute='content')|join(' ') }} {{ words|sort|join }} {{ ['b', 'A', 'a']|sort(case_sensitive=true)|join }} {{ [3, 1.5, true]|sort }}
{{ [1, 'a']|sort }}
{{ [{'a': 1}, {'a': none}]|sort(attribute='a') }}
{{ words|min }} {{ words|max }} {{ words|max(case_sensitive=true) }} {{ []|min }} {{ msgs|max(attribute='content') }} {{ [[1, 2], [1, 3]]|max }}
{{ ['a', 'A', 'b', 'B']|unique|join }} {{ ['a', 'A']|unique(true)|join }} {{ msgs|unique(attribute='role')|map(attribute='content')|join }} {{ [1, 1.0, true]|unique|list }}
{{ [[1], [1]]|unique|list }}
{{ [1, 2, 3, 4, 5]|batch(2, 0)|list }} {{ [1, 2, 3, 4, 5]|slice(3, 'x')|list }} {{ 'abcd'|batch(3)|map('join')|list }}
{{ [1, 2, 3]|sum(start=10) }} {{ [{'a': 1}, {'a': 2}]|sum('a') }} {{ [[1], [2]]|sum(start=[]) }} {{ ['a']|sum }}
{{ {'b': 1, 'A': 2, 'c': 0}|dictsort(true) }} {{ {'b': 1, 'A': 2}|dictsort(by='value', reverse=true) }} {{ {'a': 1}|dictsort(by='x') }}
{{ 'a,b;c'|replace(',', ';')|replace(';', '', 1) }} {{ 1|replace(1, 2) }} {{ 'aaa'|replace('a', 'b', 2) }}
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11, false, '...', 0) }} {{ 'foobarbaz'|truncate(5, leeway=0) }}
{{ 'hello world foo'|wordwrap(8) }}|{{ 'averyverylongword x'|wordwrap(5) }}|{{ 'ab cd'|wordwrap(3, wrapstring='/') }}|{{ 'well-known fact'|wordwrap(6) }}
{{ 1000|filesizeformat }} {{ 1|filesizeformat }} {{ 0|filesizeformat }} {{ 1500000|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ 1e12|filesizeformat }} {{ 3000000000000000000000000000|filesizeformat }}
{{ {'a': 1, 'b': none, 'c': '<'}|xmlattr }}|{{ {'a': 1}|xmlattr(false) }} {{ {'a b': 1}|xmlattr }}
{{ {'a b': 'c&d', 'e': 'ü/'}|urlencode }} {{ 'ü/ ?'|urlencode }} {{ [('a', 1)]|urlencode }} {{ 5|urlencode }}
{{ '<p>Hello &amp; <b>you</b></p><!-- x -->  y'|striptags }} {{ '&lt;x&gt; &#65; &#x42;'|striptags }}
{{ '<' ~ ('<'|e) }} {{ ('<'|e) + '<' }} {{ ('<'|safe) ~ '>' }} {{ '<'|e|e }} {{ ('<'|e)|length }} {{ ('<'|e) is escaped }} {{ ('%s'|safe) % '<' }}
{% autoescape true %}{{ '<' }}{{ '<'|safe }}{{ ['<'] }}{{ ['<', '>'|safe]|join('&') }}{% set x %}<{% endset %}{{ x }}{% macro m() %}<b>{{ '<' }}{% endmacro %}{{ m() }}{{ '<'|tojson }}{{ 5 }}{% endautoescape %}
{{ [1, [2, [3]]]|tojson(indent=2) }} {{ {'b': [], 'a': {}}|tojson(indent=1, sort_keys=true) }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ (1, 2)|tojson }} {{ 'é\u2028\u007f</script>'|tojson }}
{{ missing|tojson }}
{{ range(3)|tojson }}
{{ {'a': {'b': [1, {'c': 'd'}]}}|tojson(indent='--', separators=(',', '=')) }} {{ [1, 2]|tojson(indent=0) }} {{ []|tojson(indent=2) }}
{{ '12abc'|int }} {{ '0x1F'|int(0, 16) }} {{ '1f'|int(base=16) }} {{ '1_000'|int }} {{ '1e3'|int }} {{ 'inf'|int(5) }} {{ none|int }} {{ [1]|int(7) }} {{ true|int }} {{ '-7.9'|int }} {{ '0b11'|int(base=0) }}
{{ 'nan'|float }} {{ '1e400'|float }} {{ '-inf'|float }} {{ ' 1.5 '|float }} {{ '1_0.5'|float }} {{ '0x10'|float }} {{ none|float(2.5) }}
{{ 2.5|round }} {{ -2.5|round }} {{ 0.5|round|int }} {{ 1234.5678|round(2) }} {{ 1234|round(-2) }} {{ 1250|round(-2) }} {{ 1350|round(-2) }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 7|round }} {{ true|round }} {{ 7|round(1, 'ceil') }}
{{ 'x'|round }}
{{ 'abc'|first }} {{ 'abc'|last }} {{ d|first }} {{ d|last }} {{ range(5)|last }} {{ ()|first }} {{ items|random in items }}
{{ 'aXbX'.split('X') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(None, 1) }} {{ 'abc'.split('b', maxsplit=0) }} {{ ''.splitlines() }} {{ 'a\r\nb\n\nc'.splitlines(true) }}
{{ 'a\u2028b\x0bc\x1cd'.splitlines() }} {{ 'abcabc'.replace('b', '') }} {{ 'aaa'.replace('a', 'b', 1) }} {{ 'x'.center(4, '*') }} {{ 'xy'.ljust(4, '.') }}{{ 'xy'.rjust(4) }} {{ 'x'.center(4, '**') }}
{{ '-5'.zfill(4) }} {{ '+5'.zfill(4) }} {{ 'é'.zfill(3) }} {{ 'Straße'.casefold() }} {{ 'ŉ'.upper() }} {{ 'ﬁ'.title() }} {{ 'ΑΣ ΣΑ Σ'.lower() }} {{ 'ǆ'.title() }} {{ 'ΑΣ'.capitalize() }}
{{ 'hello'.find('l', 3) }} {{ 'hello'.find('l', -2, -1) }} {{ 'hello'.rfind('l') }} {{ 'hello'.count('') }} {{ 'hello'.index('l', 3) }} {{ 'éa'.find('a') }} {{ ''.find('') }} {{ 'a'.find('', 5) }} {{ 'aXb'.rindex('X') }}
{{ 'abc'.startswith('') }} {{ 'abc'.startswith(('x', 'ab')) }} {{ 'abc'.endswith('c', 0, 2) }} {{ 'abc'.startswith(['a']) }}
{{ 'Ünïcode'.isalpha() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ ''.isalpha() }} {{ 'a b'.istitle() }} {{ 'A B'.istitle() }} {{ 'a_1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'é'.isascii() }} {{ ''.isascii() }} {{ '\t'.isprintable() }}
{{ 'x'.foo }} {{ 'x'.foo is defined }} {{ 'x'.foo() }}
{{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }} {{ (1, 2).index(2) }} {{ [].copy() }} {{ [1].index(5) }}
{{ d.keys() }} {{ d.values() }} {{ d.items() }} {{ d.get() }}
{{ d.pop('b') }}
{{ d.setdefault('b', 1) }}
{{ d.clear }} {{ items.sort() }}
{{ d.keys()|list|length }} {{ 'b' in d.keys() }} {{ ('b', 1) in d.items() }} {{ 1 in d.values() }} {{ d.items()|length }} {{ d.keys()|first }} {{ d.values()|last }}
{{ (1.5).is_integer() }} {{ (2.0).is_integer() }} {{ (5).bit_length() }} {{ (5).real }} {{ 5.0.real }}
{{ range(10)[2:5] }} {{ range(10)[::3]|list }} {{ range(0) }} {{ range(5, 1) }} {{ range(1, 10, 3)|list }} {{ 3 in range(5) }} {{ range(3) == range(3) }} {{ range(3)[-1] }}
{{ range() }}
{{ range('a') }}
{{ range(1, 2, 0) }}
{{ cycler('a', 'b').next() }} {% set c = cycler(1, 2) %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}
{% set j = joiner() %}{{ j() }}a{{ j() }}b {{ joiner('|') is callable }}
{{ strftime_now('%d %B %Y') }} {{ strftime_now('%y-%m-%dT%H:%M:%S.%f') }} {{ strftime_now('%-d/%-m %I %p %a %b %e %z|%Z|') }} {{ strftime_now('') }} {{ strftime_now('%%x') }} {{ strftime_now('%s') is string }}
{{ strftime_now() }}
{{ raise_exception('a\nb') }}
{{ raise_exception() }}
{{ raise_exception(42) }}
{{ raise_exception(none) }}
{{ raise_exception(message='kw ' ~ n) }}
{{ namespace() }} {{ namespace }} {{ namespace([('a', 1)]).a }} {{ namespace(self=1).self }}
{{ missing ~ 'x' }} {{ missing or 'y' }} {{ missing is defined or 'z' }} {{ missing|default(missing2)|default('w') }} {{ [missing] }} {{ missing == missing2 }} {{ missing in [1] }} {{ 1 in missing }} {{ missing|join }} {{ missing|upper }}|{{ missing|trim }}|{{ missing|string }}
{{ missing() }}
{{ missing[0] }}
{{ -missing }}
{{ missing < 1 }}
{{ missing * 2 }}
{{ 'x' in missing.y }}
{{ d.zz.yy }}
{{ d.c.x }} {{ nul.x }} {{ nul['x'] }} {{ 5['x'] }} {{ 5[0] }}
{{ nul() }}
{{ nul[1:] }}
{{ d[1:] }}
{{ d[[1]] }} {{ d[{}] }} {{ {[1]: 2} }}
{{ [] in d }}
{{ 5 in s }}
{{ 5 in 5 }}
{{ s.upper }}x
{{ s * 2.0 }}
{{ s - 1 }}
{{ -s }}
{{ +s }}
{{ +true }} {{ -true }} {{ +nul }}
{{ 's' * -1 }}|{{ [1] * 2 }} {{ 2 * (1,) }} {{ true * 's' }}
{{ 'abc' is in 'abcd' }} {{ 1 is not in [2] }} {{ 'a' is not string }} {{ not 'a' is string }} {{ 5 is divisibleby(5) and true }} {{ 1 is eq 1 is defined }}
{{ 4 is divisibleby 2 + 1 }} {{ 'x' is string and 'y' is string }} {{ n is defined and n > 5 }} {{ 'a' is sameas 'a' }} {{ [] is sameas [] }}
{{ n is foo.bar }}
{{ n|foo.bar }}
{% if false %}{{ n|nofilter }}{% endif %}ok {% if false %}{{ n is notest }}{% endif %}ok {{ (n|nofilter) if false else 'ok' }}
{% if true %}{{ n|nofilter }}{% endif %}
{% for i in [] %}{{ i|nofilter }}{% endfor %}
{% if 'tojson' is filter and 'nope' is not filter %}{{ 'yes' }}{% endif %} {% if 'x'|nope is defined %}{% endif %}
{% include 'a' ignore missing %}
{% from 'a' import b %}
{% extends 'a' %}x
{% if false %}{% include 'a' %}{% endif %}skipped
{% do 1 %}
{% trans %}x{% endtrans %}
{% generation %}{% set gx = 1 %}{{ gx }}{% endgeneration %}{{ gx is defined }}
{%- generation -%} a {%- endgeneration -%} b
{{ loop.index }}
{{ lipsum is callable }} {{ range is callable }} {{ dict is callable }} {{ 'a'.upper is callable }} {{ n is callable }}
{% set x = [] %}{% for i in range(3) %}{% set x = x + [i] %}{% endfor %}{{ x }}
{% set x = 'a' %}{% set x = x ~ 'b' %}{% set y = x %}{% set x = x ~ 'c' %}{{ x }}{{ y }}
{% set t = {'type': 'object', 'properties': {'a': {'type': ['string', 'null']}}} %}{{ t.properties.a.type is iterable and t.properties.a.type is not string }} {{ t['properties']|length }} {% for k, v in t.properties.items() %}{{ k }}{{ v.type[0] }}{% endfor %}
{{ (items|sort)[0] }} {{ items|sort|last }} {{ items[items|length - 1] }} {{ items[:-1] }} {{ items[-2:] }} {{ 'abcdef'[1:-1:2] }} {{ u[0:3] }} {{ u[-1] }} {{ u[::-1] }}
{{ msgs[0].content if msgs[0].role == 'system' else '' }}{% set loop_messages = msgs[1:] %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}{{ '[' + m.role | trim + ']' }}{% endfor %}
{% for m in msgs %}{%- if loop.first and m.role != 'system' %}{{ '<sys>' }}{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{%- endfor %}{% if true %}{{ '<|im_start|>assistant\n' }}{% endif %}
{{ 'a' + 'b' * 2 + ('c' ~ 1) }} {{ 'a' ~ 'b' + 'c' }} {{ 1 ~ 2 * 3 }} {{ 'n=' ~ n + 1 }}
{{ {'a': 1}.a }} {{ [1, 2][1] }} {{ 'abc'[1] }} {{ ('a', 'b')[0] }} {{ {'items': 5}.items }} {{ {'items': 5}['items'] }} {{ {'x': {'y': 1}}.x['y'] }}
{{ d is mapping }}{{ d.items() is iterable }}{{ d.items() is sequence }}{{ items|map('string') is iterable }}{{ items|map('string') is sequence }}
{% set g = items|map('string') %}{{ g|list }}{{ g|list }} {{ (items|reverse)|first }} {{ items|reverse|reverse|list }}
{{ nested|map('length')|list }} {{ nested|map('first')|list }} {{ words|map('replace', 'a', 'A')|join }} {{ msgs|map('attr', 'x')|list|length }} {{ items|map('round', 1)|list }} {{ [1, 2]|map('default', 3)|list }}
{{ items|select('>', 1)|list }} {{ items|reject('odd')|list }} {{ items|select('divisibleby', 3)|list }} {{ items|select('nope')|list }}
{{ none|map('upper')|list }} {{ 5|map('upper')|list }}
{{ ''|default('x') }}|{{ none|d('x') }}|{{ 0|d('x', true) }}|{{ missing|d }}|{{ d.zz|d(d.b) }}
{{ 'Hello'|attr('upper') }} {{ d|attr('b') is defined }} {{ 'a'|attr('__class__') is defined }}
{{ 1 if msgs else 2 }}{{ 'T' if nil else 'F' }}{{ 'T' if 0.0 else 'F' }}{{ 'T' if ' ' else 'F' }}{{ 'T' if range(0) else 'F' }}{{ 'T' if namespace() else 'F' }}
{{ "x\ty" | indent }}{{ 'a\n\nb\n' | indent(2) }}|{{ '' | indent(2, true) }}|{{ 'a\r\nb' | indent(1) }}
{{ '   ' | wordcount }} {{ "it's a-b c_d" | wordcount }} {{ 'a' | center(5) }}| {{ 'ab' | center(5) }}| {{ 'abc' | center(4) }}|
{{ "they're bill's (foo)bar [x]y <z>w -q" | title }} {{ 'ÉCOLE été' | title }} {{ 'hELLO-wORLD' | title }} {{ 'ǆabc' | capitalize }}
{{ [1, 2] | string | length }} {{ 1.0 | string }} {{ true | lower }} {{ none | upper }} {{ 5 | capitalize }} {{ 3 | trim }}
{{ 'a' is lower }} {{ 'A1' is upper }} {{ '1' is lower }} {{ 5 is lower }} {{ 3.0 is float }} {{ 3.0 is integer }} {{ true is number }} {{ '3' is number }}
'''.strip("\n").split("\n{")


def snippets():
    for i, t in enumerate(LANGUAGE):
        yield t if i == 0 else "{" + t
    for v in VALUES:
        yield "{{ (" + v + ") }}"
        for f in FILTERS:
            if "|map" in v and f in ("wordcount", "truncate(5)"):
                continue
            yield "{{ (" + v + ")|" + f + " }}"
        for t in TESTS:
            yield "{{ (" + v + ") is " + t + " }}"
        for m in METHODS:
            yield "{{ (" + v + ")." + m + " }}"
        for m in SUBSCRIPTS:
            if ":" in m and re.match(r"[-\d]", v):
                continue
            yield "{{ (" + v + ")" + m + " }}"
    for a in OPERANDS:
        for b in OPERANDS:
            for o in OPERATORS:
                yield "{{ " + a + " " + o + " " + b + " }}"


def main(context, every=1):
    variables = json.load(open(context, encoding="utf-8"))
    for i, t in enumerate(snippets()):
        if i >= len(LANGUAGE) and i % int(every):
            continue
        r = {"template": t}
        when = "compile"
        try:
            c = ctu._cached_compile_jinja_template(t)
            when = "render"
            r["expected"] = c.render(**ctu._plain_template_data(variables))
            if re.search(r" at 0x|<class|<Undefined|<function|<built-in|object>|^\(.*j\)$",
                         r["expected"]) or re.match("<gener", r["expected"], re.I):
                continue
            r["expected"].encode("utf-8")
        except Exception as e:
            r.pop("expected", None)
            r.update(when=when, error={"type": type(e).__name__, "message": str(e)})
        print(json.dumps(r, ensure_ascii=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
