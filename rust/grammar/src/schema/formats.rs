//! The values of `format` that are enforced, as patterns.
//!
//! Each matches only what the format's validators agree on: of the letters `T` and `Z` the capital
//! ones, of host names those with usual labels. A format that is missing here is refused where a
//! draft knows it, and ignored where none does.

/// Longest name of a host, which labels add up to.
const MAX_HOST_LEN: u64 = 253;

/// The effect of a `format` on a string.
pub(super) enum Format {
    /// This pattern for the whole string, and at most this many characters.
    Pattern(String, Option<u64>),
    /// A draft knows the format, and no pattern says it.
    NotEnforced,
    /// An annotation, such as `int32`.
    Unknown,
}

pub(super) fn lookup(name: &str) -> Format {
    let (pattern, max_len) = match name {
        "date" => (date(), None),
        "time" => (TIME.to_owned(), None),
        "date-time" => (format!("(?:{})T{TIME}", date()), None),
        "duration" => (duration(), None),
        "email" => (email(), None),
        "hostname" => (hostname(126), Some(MAX_HOST_LEN)),
        "ipv4" => (ipv4(), None),
        "ipv6" => (ipv6(), None),
        "uuid" => ("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned(), None),
        "uri" => (uri(), None),
        "uri-reference" => (uri_reference(), None),
        "json-pointer" => (JSON_POINTER.to_owned(), None),
        "relative-json-pointer" => (format!("(?:0|[1-9][0-9]{{0,8}})(?:#|{JSON_POINTER})"), None),
        "idn-email" | "idn-hostname" | "iri" | "iri-reference" | "uri-template" | "regex" => {
            return Format::NotEnforced;
        }
        _ => return Format::Unknown,
    };
    Format::Pattern(format!("^(?:{pattern})$"), max_len)
}

const TIME: &str = concat!(
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
    r"(?:\.[0-9]{1,6})?",
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
);

const JSON_POINTER: &str = "(?:/(?:[^~/]|~[01])*)*";

/// Returns a pattern of the existing days of the years 1 to 9999.
fn date() -> String {
    let year = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";
    let by_4 = "(?:0[48]|[2468][048]|[13579][26])";
    let leap_year = format!("(?:[0-9]{{2}}{by_4}|{by_4}00)");
    let long = "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])";
    let short = "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)";
    format!("{year}-(?:{long}|{short}|02-(?:0[1-9]|1[0-9]|2[0-8]))|{leap_year}-02-29")
}

/// Returns the pattern of RFC 3339, appendix A: no unit between two is left out.
fn duration() -> String {
    let n = "[0-9]{1,9}";
    let date = format!("(?:{n}Y(?:{n}M(?:{n}D)?)?|{n}M(?:{n}D)?|{n}D)");
    let time = format!("T(?:{n}H(?:{n}M(?:{n}S)?)?|{n}M(?:{n}S)?|{n}S)");
    format!("P(?:{date}(?:{time})?|{time}|{n}W)")
}

fn email() -> String {
    let atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}";
    format!(r"{atom}(?:\.{atom}){{0,2}}@{}", hostname(3))
}

/// Returns a pattern of labels of letters, digits and single hyphens, up to 59 characters each.
fn hostname(max_more_labels: usize) -> String {
    let label = "[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,19}){0,2}";
    format!(r"{label}(?:\.{label}){{0,{max_more_labels}}}")
}

fn ipv4() -> String {
    let byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!(r"{byte}(?:\.{byte}){{3}}")
}

/// Returns a pattern of eight groups; a run may be left out, the last two may be an IPv4 address.
fn ipv6() -> String {
    let group = "[0-9a-fA-F]{1,4}";
    let last = format!("(?:{group}:{group}|{})", ipv4());
    let mut forms = vec![format!("(?:{group}:){{6}}{last}")];
    // `left` groups, `::`, and at most `right` groups, which are one fewer than would fill the
    // address.
    for left in 0..=7usize {
        let before = match left {
            0 => String::new(),
            _ => format!("{group}(?::{group}){{{}}}", left - 1),
        };
        let right = 7 - left;
        let after = match right {
            0 => String::new(),
            1 => format!("(?:{group})?"),
            _ => format!("(?:(?:{group}:){{0,{}}}{last}|{group})?", right - 2),
        };
        forms.push(format!("{before}::{after}"));
    }
    forms.join("|")
}

const ESCAPED: &str = "%[0-9A-Fa-f]{2}";

fn path_char() -> String {
    format!("(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{ESCAPED})")
}

fn authority() -> String {
    format!(r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|{ESCAPED})+|\[(?:{})\])(?::[0-9]{{1,4}})?", ipv6())
}

fn tail() -> String {
    let part = format!("(?:{}|[/?])*", path_char());
    format!(r"(?:\?{part})?(?:#{part})?")
}

/// Returns the pattern of RFC 3986.
fn uri() -> String {
    let char = path_char();
    let (authority, tail) = (authority(), tail());
    format!("[A-Za-z][A-Za-z0-9+.-]*:(?://{authority}(?:/{char}*)*|/?(?:{char}+(?:/{char}*)*)?){tail}")
}

fn uri_reference() -> String {
    let char = path_char();
    let (authority, tail) = (authority(), tail());
    let no_colon = format!("(?:[A-Za-z0-9._~!$&'()*+,;=@-]|{ESCAPED})");
    let relative = format!(
        "(?://{authority}(?:/{char}*)*|/(?:{char}+(?:/{char}*)*)?|(?:{no_colon}+(?:/{char}*)*)?){tail}"
    );
    format!("{}|{relative}", uri())
}
