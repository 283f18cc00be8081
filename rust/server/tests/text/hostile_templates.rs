//! A chat template is a program of a stranger: it costs what it may, or the conversation is
//! refused.

use serde_json::{Map, json};
use streamcore_server::text::{Bound, ChatTemplate, RenderOptions, Wanted, bounded};

const BRIEF: Bound = Bound { max_bytes: usize::MAX, is_brief: true };

fn compile(source: &str) -> Result<ChatTemplate, String> {
    ChatTemplate::new(source, &Map::new(), jiff::Zoned::now).map_err(|error| error.to_string())
}

fn render(source: &str) -> Result<String, String> {
    let messages = [json!({ "role": "user", "content": "hello" })];
    let rendered = compile(source)?.render(&messages, &RenderOptions::default());
    rendered.map_err(|error| error.to_string())
}

const ENDLESS: &str = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";

/// A thread that serves sockets would compute for seconds while its streams stand still.
#[test]
fn what_takes_long_is_cut_off_where_others_wait() {
    let (rendered, was_cut) = bounded(BRIEF, || render(ENDLESS));
    assert!(was_cut && rendered.unwrap_err().contains("takes more than 20000 steps"));
    let (rendered, was_cut) = bounded(BRIEF, || render("{{ messages[0].content }}"));
    assert_eq!((rendered.as_deref(), was_cut), (Ok("hello"), false));
}

/// A client that leaves would have a thread compute for minutes in vain.
#[test]
fn rendering_ends_when_its_client_has_left() {
    let wanted = Wanted::default();
    drop(wanted.clone().end_on_drop());
    let error = wanted.scope(|| render(ENDLESS)).unwrap_err();
    assert!(error.contains("the client has left"), "{error}");
}

/// A template of one line would fill the memory.
#[test]
fn what_a_template_makes_is_bounded_as_a_whole() {
    for growing in [
        "{% set ns = namespace(x='a' * 1000000) %}{% for i in range(9000) %}{% set ns.x = ns.x ~ 'b' %}{% endfor %}",
        "{% set ns = namespace(x=[1] * 1000000) %}{% for i in range(9000) %}{% set ns.x = ns.x + [1] %}{% endfor %}",
        "{% for i in range(900) %}{% for j in range(1000000) %}{% break %}{% endfor %}{% endfor %}",
        "{% for i in range(9000) %}{{ 'a' * 1000000 }}{% endfor %}",
    ] {
        let error = render(growing).unwrap_err();
        let is_bounded = error.contains("the template makes more than") || error.contains("is too large");
        assert!(is_bounded || error.contains("range"), "{growing}: {error}");
    }
}

/// Each operator is a level of what later goes through the expression, and the stack has an end.
#[test]
fn chains_of_a_hundred_thousand_operators_are_errors() {
    let many = |link: &str| link.repeat(100_000);
    for source in [
        format!("{{{{ a{} }}}}", many(" or a")),
        format!("{{{{ a{} }}}}", many(" and a")),
        format!("{{{{ a{} }}}}", many(" + a")),
        format!("{{{{ a{} }}}}", many(" if a")),
        format!("{{{{ a{} }}}}", many(".a")),
        format!("{{{{ a{} }}}}", many("[0]")),
        format!("{{{{ a{} }}}}", many("()")),
        format!("{{{{ a{} }}}}", many("|trim")),
        format!("{{{{ {}a }}}}", many("not ")),
        format!("{{{{ {}a }}}}", many("-")),
        format!("{{{{ {}a{} }}}}", many("("), many(")")),
    ] {
        let error = compile(&source).unwrap_err();
        assert!(error.contains("operators") || error.contains("deeper"), "{}: {error}", &source[..30]);
    }
    let open = format!("{{{{ {}a }}}}", many("("));
    assert!(
        compile(&open).unwrap_err().contains("expected `)`"),
        "brackets are no level, but each is closed"
    );
    let long = format!("{{{{ 'a'{} }}}}", many(" ~ 'a'"));
    assert_eq!(render(&long).map(|text| text.len()), Ok(100_001), "a list of texts has no levels");
}
