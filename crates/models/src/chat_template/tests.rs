//! Templates as Jinja2 renders them, and every bound.

use proptest::prelude::*;

use super::jinja2_cases::{CASES, REFUSED};
use super::{MAX_TEMPLATE, MAX_TEXT, Template, TemplateError, Value};

fn variables() -> Vec<(&'static str, Value)> {
    let message = |role, content| Value::map(vec![("role", Value::text(role)), ("content", Value::text(content))]);
    vec![
        ("messages", Value::list(vec![message("system", "S"), message("query", "Q"), message("document", "D")])),
        ("add_generation_prompt", Value::Bool(true)),
        ("bos_token", Value::text("<s>")),
    ]
}

fn render(source: &str) -> Result<String, TemplateError> {
    Template::parse(source)?.render(&variables())
}

fn refusal(source: &str) -> String {
    match render(source) {
        Ok(output) => panic!("{source:?} renders as {output:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn templates_render_as_in_jinja2() {
    for (source, expected) in CASES {
        assert_eq!(render(source).as_deref(), Ok(*expected), "{source:?}");
    }
}

#[test]
fn templates_that_jinja2_refuses_are_refused() {
    for source in REFUSED {
        refusal(source);
    }
}

#[test]
fn a_template_cut_anywhere_is_read_or_refused() {
    for (source, _) in CASES {
        for (end, _) in source.char_indices() {
            let lines = source.replace("\r\n", "\n").split(['\n', '\r']).count();
            if let Err(error) = render(&source[..end]) {
                assert!((1..=lines).contains(&error.line), "{:?}: {error}", &source[..end]);
            }
        }
    }
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("a\n{{ x.y }}", "line 2: expected a value with the attribute `y`, found an undefined value"),
        ("a\n\n{% macro f() %}", "line 3: expected a statement that is read here, found `macro`"),
        ("{% include 'x' %}", "line 1: expected a statement that is read here, found `include`"),
        ("{% break %}", "line 1: expected a statement that is read here, found `break`"),
        ("\n{{ 1 | nope }}", "line 2: expected a filter that is read here, found `nope`"),
        ("\n{{ 1\n is nope }}", "line 3: expected a test that is read here, found `nope`"),
        ("{{ 'a'.title() }}", "line 1: expected a method that is read here of a string, found `title`"),
        ("{{ cycler(1) }}", "line 1: expected a function that is read here, found `cycler`"),
        ("{{ strftime_now('%d') }}", "line 1: expected a function that is read here, found `strftime_now`"),
        (
            "\r\n\r{{ raise_exception('no\nway') }}",
            "line 3: expected messages that the template accepts, found the exception `no\\nway`",
        ),
        (
            "{% if 1 %}\na\n{% endfor %}",
            "line 3: expected `{% elif %}` or `{% else %}` or `{% endif %}`, found `endfor`",
        ),
        ("{% for a in b %}\n", "line 1: expected `{% else %}` or `{% endfor %}`, found the end of the template"),
        ("\n{# a\n", "line 2: expected `#}` that closes the comment, found the end of the template"),
        ("\n{{ 1\n\n", "line 2: expected `}}` that closes the tag, found the end of the template"),
        ("{{ 1.5 }}", "line 1: expected an integer of 64 bits, found `1`"),
        ("{{ 99999999999999999999 }}", "line 1: expected an integer of 64 bits, found `99999999999999999999`"),
        ("{{ 2 ** 3 }}", "line 1: expected `}}`, found `**`"),
        ("{{ [1] }}", "line 1: expected a value that prints as text, found a list"),
        ("{{ {1: 2} }}", "line 1: expected a key that is a string, found an integer"),
        ("{{ {'items': 1}.items }}", "line 1: expected a call of the method `items`, found its name alone"),
        ("{{ range }}", "line 1: expected a call of a function, found the function `range`"),
        (
            "{% set ns = namespace(a=1) %}{{ ns }}",
            "line 1: expected an attribute of a namespace, found the namespace `ns`",
        ),
        (
            "{% set x = messages | map(attribute='role') %}",
            "line 1: expected a value, such as `| list` or `| first` gives, found a stream of items",
        ),
        ("{{ 'a\\N{DASH}' }}", "line 1: expected an escape that is read here, found `\\\\N`"),
    ];
    for (source, expected) in cases {
        assert_eq!(refusal(source), expected, "{source:?}");
    }
}

#[test]
fn strings_have_a_bound_however_they_are_built() {
    let cases = [
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
        "{% set ns = namespace(s='\"') %}{% for i in range(99) %}{% set ns.s = ns.s | tojson %}{% endfor %}",
        "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
        "{{ 'a' * 9223372036854775807 }}",
        "{{ 'aa' * 9223372036854775807 }}",
        "{% set a = 'a' * 1000000 %}{{ a }}{{ a }}",
        "{% set a = 'a' * 1000000 %}{{ a.replace('a', a) }}",
    ];
    for source in cases {
        let source =
            source.replace("{% set ns.s %}", "{% set s %}").replace("{% endset %}", "{% endset %}{% set ns.s = s %}");
        let error = refusal(&source);
        assert!(error.contains(&MAX_TEXT.to_string()) || error.contains("bytes"), "{source:?}: {error}");
    }
    assert_eq!(render("{{ '' * 9223372036854775807 }}").as_deref(), Ok(""));
}

#[test]
fn steps_have_a_bound() {
    let cases = [
        "{{ range(1000000000000) | length }}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}",
        "{% set a = 'a' * 200000 %}{{ a | list | length }}",
        "{% set a = ' a' * 200000 %}{{ a.split() | length }}",
        "{% set a = range(1000) | list %}{% for i in a %}{{ a == a }}{% endfor %}",
        "{% set a = range(1000) | list %}{% for i in a %}{{ -1 in a }}{% endfor %}",
    ];
    for source in cases {
        let error = refusal(source);
        assert!(error.ends_with("steps, found more steps"), "{source:?}: {error}");
    }
    let error = refusal("{% set a = 'a' * 1000000 %}{% for i in range(1000) %}{{ 'b' in a }}{% endfor %}");
    assert!(error.ends_with("bytes, found more bytes"), "{error}");
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + inner + &close.repeat(depth)
}

/// What expressions can nest in, with what stands innermost.
const NESTED: [(&str, &str, &str); 11] = [
    ("(", "1", ")"),
    ("[", "1", "] | first"),
    ("{'a': ", "1", "}"),
    ("-", "1", ""),
    ("not ", "1", ""),
    ("1 if 1 else ", "1", ""),
    ("'a'.strip(", "1", ")"),
    ("messages[", "1", "]"),
    ("range(", "1", ")"),
    ("1 is eq(", "1", ")"),
    ("1 | d(", "1", ")"),
];

#[test]
fn nesting_has_a_bound_and_length_does_not_count_as_nesting() {
    for (open, inner, close) in NESTED {
        for depth in [65, 1000, 20_000] {
            let error = refusal(&format!("{{{{ {} }}}}", nested(open, inner, close, depth)));
            assert!(error.contains("a nesting of at most 64 levels"), "{open}: {error}");
        }
    }
    assert_eq!(render(&format!("{{{{ {} }}}}", nested("(", "1", ")", 60))).as_deref(), Ok("1"));
    for (open, close) in [
        ("{% if true %}", "{% endif %}"),
        ("{% for i in [1] %}", "{% endfor %}"),
        ("{% set x %}", "{% endset %}"),
        ("{% generation %}", "{% endgeneration %}"),
        ("{% if false %}{% else %}", "{% endif %}"),
    ] {
        assert_eq!(render(&nested(open, "", close, 60)).as_deref(), Ok(""));
        let error = refusal(&nested(open, "", close, 5000));
        assert!(error.contains("a nesting of at most 64 levels"), "{open}: {error}");
    }
    for (first, step) in [
        ("1", " + 1"),
        ("1", " ~ 1"),
        ("1", " and 1"),
        ("0", " or 0"),
        ("1", " * 1"),
        ("1", " - 1"),
        ("messages", "[:]"),
        ("1", " == 1"),
        ("1", " | string"),
    ] {
        assert!(render(&format!("{{{{ {first}{} is defined }}}}", step.repeat(15_000))).is_ok(), "{step}");
    }
    assert!(render(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000))).is_ok());
    let deep_value = "{% set ns = namespace(l=1) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}";
    assert!(refusal(deep_value).contains("values that nest at most 64 levels"));
}

/// The standard library gives a thread two MiB, of which unoptimised code may need most.
#[test]
fn the_deepest_templates_need_little_stack() {
    let stack = if cfg!(debug_assertions) { 1536 } else { 512 };
    let run = || {
        for (open, inner, close) in NESTED {
            let source = format!("{{{{ {} is defined }}}}", nested(open, inner, close, 62));
            assert!(Template::parse(&source).is_ok(), "{source}");
            let _may_fail = render(&source);
        }
        let blocks = nested("{% for i in [1] %}", "{{ 1 }}", "{% endfor %}", 63);
        assert_eq!(render(&blocks).as_deref(), Ok("1"));
    };
    let thread = std::thread::Builder::new().stack_size(stack * 1024).spawn(run).expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn a_template_has_a_longest_length() {
    assert!(Template::parse(&"a".repeat(MAX_TEMPLATE)).is_ok());
    for source in ["a".repeat(10 << 20), "{{ 1 }}".repeat(1 << 20)] {
        let error = refusal(&source);
        assert!(error.starts_with("line 1: expected a template of at most 262144 bytes"), "{error}");
    }
}

#[test]
fn values_that_the_caller_gives_may_nest_deep() {
    let mut deep = Value::Int(1);
    for _ in 0..500 {
        deep = Value::list(vec![deep]);
    }
    let variables = [("deep", deep)];
    for source in ["{{ deep == deep }}", "{{ deep | tojson }}", "{{ [deep] | length }}"] {
        let error = Template::parse(source).and_then(|template| template.render(&variables));
        assert!(error.is_err_and(|error| error.expected.contains("values that nest")), "{source}");
    }
}

/// What templates are made of.
const PIECES: [&str; 44] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{%-",
    "-%}",
    "{{-",
    "-}}",
    " set ",
    "ns",
    "x",
    " = ",
    "namespace(",
    ")",
    " for ",
    " in ",
    "messages",
    "endfor",
    " if ",
    "elif",
    " else ",
    "endif",
    "raw",
    "endraw",
    "generation",
    "endgeneration",
    "'a'",
    "\"",
    "[",
    "]",
    ":",
    ",",
    "(",
    ".",
    "content",
    " | ",
    "first",
    "map(attribute=",
    " ~ ",
    "9",
    "\n",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_a_template_is_made_of_it_is_read_or_refused(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        let source = pieces.concat();
        if let Ok(output) = render(&source) {
            prop_assert!(output.len() <= MAX_TEXT);
        }
    }
}
