//! `strftime` of C in its plain locale, as Python's `datetime` calls it for a time without a zone.

use jiff::Zoned;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The specification between `%` and its letter.
#[derive(Debug, Default, Clone, Copy)]
struct Spec {
    pad: Option<char>,
    is_upper: bool,
    is_swapped: bool,
    width: usize,
    modifier: Option<char>,
}

/// Writes `now` by `format`; unknown directives stay as they are.
pub(super) fn strftime(format: &str, now: &Zoned) -> String {
    let (mut out, mut rest) = (String::new(), format);
    while let Some((before, field)) = rest.split_once('%') {
        out.push_str(before);
        let Some((spec, letter, behind)) = parse(field) else {
            out.push('%');
            rest = field;
            continue;
        };
        let raw = &rest[before.len()..rest.len() - behind.len()];
        // Python itself handles this one, and only right behind the sign.
        let found = if letter == 'f' && raw.len() > 2 { None } else { directive(spec, letter, now) };
        out.push_str(&found.unwrap_or_else(|| words(Spec { is_swapped: false, ..spec }, raw)));
        rest = behind;
    }
    out + rest
}

/// Flags, width, modifier and letter.
fn parse(field: &str) -> Option<(Spec, char, &str)> {
    let mut spec = Spec::default();
    let mut rest = field;
    while let Some(flag) = rest.chars().next().filter(|char| "_-0^#+".contains(*char)) {
        match flag {
            '^' => spec.is_upper = true,
            '#' => spec.is_swapped = true,
            flag => spec.pad = Some(flag),
        }
        rest = &rest[1..];
    }
    let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    if digits > 0 {
        spec.width = rest[..digits].parse().ok().filter(|width| *width <= 1000)?;
        rest = &rest[digits..];
    }
    spec.modifier = rest.chars().next().filter(|char| matches!(char, 'E' | 'O'));
    rest = &rest[usize::from(spec.modifier.is_some())..];
    let letter = rest.chars().next()?;
    Some((spec, letter, &rest[letter.len_utf8()..]))
}

/// Returns whether a letter takes a modifier; those for other calendars and digits have no effect
/// in this locale.
fn takes_modifier(modifier: Option<char>, letter: char) -> bool {
    match modifier {
        None => true,
        Some('E') => !"aADFbhBdeHIjklmMSUgGWVw".contains(letter),
        Some(_) => !"aADFcxXY".contains(letter),
    }
}

fn directive(spec: Spec, letter: char, now: &Zoned) -> Option<String> {
    if !takes_modifier(spec.modifier, letter) {
        return None;
    }
    let date = now.date();
    let (week_day, year_day) =
        (date.weekday().to_sunday_zero_offset() as i64, i64::from(date.day_of_year()) - 1);
    let hour12 = i64::from((now.hour() + 11) % 12 + 1);
    let (year, iso) = (i64::from(now.year()), date.iso_week_date());
    let number = |number: i64, width, pad| Some(digits(spec, number, width, pad));
    let name = |name: &str| Some(words(spec, name));
    let nested = |format: &str| Some(words(Spec { is_swapped: false, ..spec }, &strftime(format, now)));
    match letter {
        'a' => name(&DAYS[week_day as usize][..3]),
        'A' => name(DAYS[week_day as usize]),
        'b' | 'h' => name(&MONTHS[now.month() as usize - 1][..3]),
        'B' => name(MONTHS[now.month() as usize - 1]),
        'c' => nested("%a %b %e %H:%M:%S %Y"),
        'C' => number(year.div_euclid(100), 2, '0'),
        'd' => number(now.day().into(), 2, '0'),
        'D' | 'x' => nested("%m/%d/%y"),
        'e' => number(now.day().into(), 2, ' '),
        'f' => Some(format!("{:06}", now.subsec_nanosecond() / 1000)),
        'F' => nested("%Y-%m-%d"),
        'g' => number(i64::from(iso.year()).rem_euclid(100), 2, '0'),
        'G' => number(iso.year().into(), 1, '0'),
        'H' => number(now.hour().into(), 2, '0'),
        'I' => number(hour12, 2, '0'),
        'j' => number(year_day + 1, 3, '0'),
        'k' => number(now.hour().into(), 2, ' '),
        'l' => number(hour12, 2, ' '),
        'm' => number(now.month().into(), 2, '0'),
        'M' => number(now.minute().into(), 2, '0'),
        'n' => name("\n"),
        'p' if spec.is_swapped => name(if now.hour() < 12 { "am" } else { "pm" }),
        'p' => name(if now.hour() < 12 { "AM" } else { "PM" }),
        'P' => Some(words(Spec { is_upper: false, ..spec }, if now.hour() < 12 { "am" } else { "pm" })),
        'r' => nested("%I:%M:%S %p"),
        'R' => nested("%H:%M"),
        's' => number(now.timestamp().as_second(), 1, '0'),
        'S' => number(now.second().into(), 2, '0'),
        't' => name("\t"),
        'T' | 'X' => nested("%H:%M:%S"),
        'u' => number((week_day + 6) % 7 + 1, 1, '0'),
        'U' => number((year_day + 7 - week_day) / 7, 2, '0'),
        'V' => number(iso.week().into(), 2, '0'),
        'w' => number(week_day, 1, '0'),
        'W' => number((year_day + 7 - (week_day + 6) % 7) / 7, 2, '0'),
        'y' => number(year.rem_euclid(100), 2, '0'),
        'Y' => number(year, 1, '0'),
        'z' => Some(String::new()),
        'Z' => name(""),
        '%' => name("%"),
        _ => None,
    }
}

/// Returns a number with the digits of its letter, or of the width.
fn digits(spec: Spec, number: i64, width: usize, pad: char) -> String {
    let width = if spec.width > 0 { spec.width } else { width };
    match spec.pad.unwrap_or(pad) {
        '-' if spec.width == 0 => number.to_string(),
        ' ' | '_' | '-' => format!("{number:>width$}"),
        _ => format!("{number:0>width$}"),
    }
}

fn words(spec: Spec, text: &str) -> String {
    let is_upper = spec.is_upper || (spec.is_swapped && !matches!(text, "am" | "pm"));
    let text = if is_upper { text.to_uppercase() } else { text.to_owned() };
    let width = spec.width;
    if spec.pad == Some('0') { format!("{text:0>width$}") } else { format!("{text:>width$}") }
}
