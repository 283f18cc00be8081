//! Snippets of templates against jinja2: the expectations come from `tests/text/make_snippets.py`.

use serde::Deserialize;
use serde_json::{Map, Value};
use streamcore_server::text::{ChatTemplate, RenderOptions, TemplateError};

use crate::chat_template::clock;

#[derive(Deserialize)]
struct Snippets {
    variables: Map<String, Value>,
    /// Source, and what jinja2 makes of it: nothing if that is an error.
    cases: Vec<(String, Option<String>)>,
}

fn differences(snippets: &Snippets) -> Vec<String> {
    let options = RenderOptions { extra: snippets.variables.clone(), ..RenderOptions::default() };
    let mut differences = Vec::new();
    for (source, expected) in &snippets.cases {
        let compiled = ChatTemplate::new(source, &Map::new(), clock);
        let found: Result<String, TemplateError> =
            compiled.and_then(|template| template.render(&[], &options));
        if found.as_ref().ok() != expected.as_ref() {
            differences.push(format!("{source}\n  jinja2 {expected:?}\n  ours   {found:?}"));
        }
    }
    differences
}

/// A published template that uses what Python has would be refused, or quietly give another prompt.
#[test]
fn snippets_render_as_in_jinja2() {
    let snippets = serde_json::from_str(include_str!("../data/template_snippets.json")).unwrap();
    let differences = differences(&snippets);
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

/// The same for any number of other snippets, made outside the repository.
#[test]
fn more_snippets_render_as_in_jinja2() {
    let Some(path) = std::env::var_os("STREAMCORE_TEMPLATE_SNIPPETS") else {
        eprintln!("skipped: STREAMCORE_TEMPLATE_SNIPPETS names no file of snippets");
        return;
    };
    let snippets = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let differences = differences(&snippets);
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

/// A template could take the whole server down with it, by the depth of its calls or of its
/// brackets.
#[test]
fn depth_ends_in_an_error() {
    let sources = [
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}".to_owned(),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("{{{{ {}x }}}}", "not ".repeat(5000)),
        format!("{{{{ {}1 }}}}", "- ".repeat(5000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(5000)),
        format!("{{{{ x{} }}}}", " or x".repeat(5000)),
        format!("{{{{ x{} }}}}", ".a".repeat(5000)),
        format!("{{{{ messages{} }}}}", "|list".repeat(5000)),
        format!("{}{}", "{% if x %}".repeat(5000), "{% endif %}".repeat(5000)),
        "{{ 'x' * 10 ** 12 }}".to_owned(),
        "{{ '%99999999999d' % 1 }}{{ '{:99999999999}'.format(1) }}".to_owned(),
        "{% set ns = namespace(x='x' * 1000) %}{% for i in range(99999) %}{% set ns.x = ns.x * 2 %}{% endfor %}".to_owned(),
    ];
    // The stack of the threads that render.
    let render = move || {
        for source in &sources {
            let compiled = ChatTemplate::new(source, &Map::new(), clock);
            let rendered = compiled.and_then(|template| template.render(&[], &RenderOptions::default()));
            assert!(rendered.is_err(), "{}", &source[..source.len().min(80)]);
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(render).unwrap().join().unwrap();
}
