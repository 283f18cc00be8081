//! Finds the likely route for an unknown path.

use strsim::osa_distance;

/// The paths as `/openapi.json` lists them, but for those with a name in them.
const PATHS: [&str; 15] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/compact",
    "/v1/responses/input_tokens",
    "/v1/models",
    "/tokenize",
    "/detokenize",
    "/health",
    "/ready",
    "/version",
    "/metrics",
    "/openapi.json",
];
/// Path prefixes before a name: that of a model, and that of a response.
const BEFORE_NAMES: [&str; 2] = ["/v1/models/", "/v1/responses/"];
/// Maximum length of a compared path; a comparison takes time by length.
const MAX_LEN: usize = 128;
/// Maximum wrong letters, and at most one in four.
const MAX_TYPOS: usize = 2;

/// Finds a route despite common errors of base URLs and typing: `/v1` missing, doubled or
/// misplaced, slashes, capital letters, and a few wrong letters.
pub(super) fn meant_by(path: &str) -> Option<String> {
    if path.len() > MAX_LEN {
        return None;
    }
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let num_versions = segments.iter().take_while(|segment| is_version(segment)).count();
    let rest = &segments[num_versions..];
    let nearest = nearest(&segments, rest);
    if let [noun, name @ ..] = rest
        && let Some(before) = BEFORE_NAMES.iter().find(|before| names(before, noun))
        && !name.is_empty()
        // Where names stand, another path may, too.
        && nearest.is_none_or(|path| !path.starts_with(before))
    {
        let meant = format!("{before}{}", name.join("/"));
        return (meant != path).then_some(meant);
    }
    nearest.map(str::to_owned)
}

/// The path of a route that is nearest to this one, with its version and without, if any is near.
fn nearest(whole: &[&str], rest: &[&str]) -> Option<&'static str> {
    let joined = |segments: &[&str]| format!("/{}", segments.join("/")).to_ascii_lowercase();
    let (whole, rest) = (joined(whole), joined(rest));
    let num_typos = |known: &str| {
        let without_version = osa_distance(&rest, known.trim_start_matches("/v1"));
        without_version.min(osa_distance(&whole, known))
    };
    let nearest = PATHS.into_iter().map(|known| (num_typos(known), known));
    let (num_typos, nearest) = nearest.min_by_key(|(num_typos, _)| *num_typos)?;
    (num_typos <= MAX_TYPOS && num_typos * 4 <= rest.len()).then_some(nearest)
}

/// Returns whether such a path is one of these things.
fn names(before: &str, noun: &str) -> bool {
    before.trim_start_matches("/v1").trim_matches('/').eq_ignore_ascii_case(noun)
}

/// `v1`, or any other letter `v` and number.
fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix(['v', 'V']);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::openapi;

    /// A route that is left out here is never named to those who miss it by a letter.
    #[test]
    fn every_route_can_be_meant() {
        let document = openapi::document("1", None);
        let paths = document["paths"].as_object().expect("a document has paths");
        let with_names = |path: &&str| path.contains('{');
        let listed: Vec<_> = paths.keys().map(String::as_str).filter(|path| !with_names(path)).collect();
        assert_eq!(listed, PATHS);
        let is_found = |path: &str| BEFORE_NAMES.iter().any(|before| path.starts_with(before));
        assert!(paths.keys().map(String::as_str).filter(with_names).all(is_found));
    }

    /// Whatever a base URL adds or leaves out, and every slip of one letter, leads back to the
    /// route.
    #[test]
    fn every_usual_mistake_leads_to_the_route() {
        for known in PATHS {
            let bare = known.trim_start_matches("/v1");
            let mut mistakes = vec![
                format!("{known}/"),
                format!("{known}//"),
                format!("/v1/v1{bare}"),
                format!("/V1{bare}"),
                format!("/{known}"),
                known.to_ascii_uppercase(),
            ];
            mistakes.push(if bare == known { format!("/v1{known}") } else { bare.to_owned() });
            for at in 1..known.len() {
                mistakes.push([&known[..at], &known[at + 1..]].concat());
                mistakes.push([&known[..at], "x", &known[at..]].concat());
            }
            for mistake in mistakes {
                // One letter less and it is as near to the other one.
                let is_between = ["/etokenize", "/dtokenize"].contains(&&*mistake);
                assert!(is_between || meant_by(&mistake).as_deref() == Some(known), "{mistake}");
            }
        }
        assert_eq!(meant_by("/models/org/toy").as_deref(), Some("/v1/models/org/toy"));
        assert_eq!(meant_by("/v1/models/toy/").as_deref(), Some("/v1/models/toy"));
        let cancel = "/v1/responses/resp_1/cancel";
        assert_eq!(meant_by("/responses/resp_1/cancel").as_deref(), Some(cancel));
    }

    /// A guess that is none sends a client after what it never asked for.
    #[test]
    fn what_is_far_from_every_route_is_left_alone() {
        let long = "/v1/chat/completions".repeat(1000);
        for path in
            ["/", "", "/v1", "/v1/embeddings", "/v1/assistants", "/api/generate", "/docs", "/x", "*", &long]
        {
            assert_eq!(meant_by(path), None, "{path}");
        }
    }
}
