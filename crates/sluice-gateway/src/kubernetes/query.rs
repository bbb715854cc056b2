use super::path::hex_pair;
use super::reject::{Reject, shown};

/// A query string, read as `url.ParseQuery` reads it, without the pairs that it
/// would drop in silence: those are refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Splits and decodes `raw` (without the `?`).
    pub(super) fn parse(raw: &str) -> Result<Self, Reject> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            if pair.contains(';') {
                return Err(Reject::bad(
                    format!("the query has {}, and a \";\" separates parameters for some readers only", shown(pair)),
                    "Separate parameters with \"&\", or send %3B.",
                ));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key, pair)?, decode(value, pair)?));
        }
        Ok(Self { pairs })
    }

    /// Every value of `key`, in order.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be there once.
    pub(super) fn one(&self, key: &str) -> Result<Option<&str>, Reject> {
        let mut values = self.all(key);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Reject::bad(
                format!("the query parameter {key} is there more than once"),
                format!("Send {key} once."),
            )),
        }
    }

    /// A boolean as the API server converts it: everything but `false` and `0`
    /// is true there; what is no boolean for people is refused here.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Reject> {
        match self.one(key)? {
            None => Ok(false),
            Some(value) => match value.to_ascii_lowercase().as_str() {
                "" | "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(Reject::bad(
                    format!("the query parameter {key} is {}, which is no boolean", shown(value)),
                    format!("Send {key}=true or {key}=false."),
                )),
            },
        }
    }

    /// Whether nothing would be stored. The only value is `All`.
    pub(super) fn dry_run(&self) -> Result<bool, Reject> {
        let mut asked = false;
        for value in self.all("dryRun") {
            if value != "All" {
                return Err(Reject::bad(
                    format!("the query parameter dryRun is {}", shown(value)),
                    "Send dryRun=All, or leave it out.",
                ));
            }
            asked = true;
        }
        Ok(asked)
    }
}

/// The name that a field selector pins (`metadata.name=x`), if it does and if
/// the name could be a path segment.
pub(super) fn selected_name(selector: &str) -> Result<Option<String>, Reject> {
    let unreadable = |what: &str| {
        Reject::bad(
            format!("the query parameter fieldSelector is {}: {what}", shown(selector)),
            "Send terms such as metadata.name=NAME, separated by commas.",
        )
    };
    let mut name: Option<String> = None;
    for term in split_terms(selector).into_iter().filter(|term| !term.is_empty()) {
        let Some((field, value)) = term.split_once('=') else { return Err(unreadable("a term has no operator")) };
        let (equal, field, value) = match field.strip_suffix('!') {
            Some(field) => (false, field, value),
            None => (true, field, value.strip_prefix('=').unwrap_or(value)),
        };
        let value =
            unescape(value).ok_or_else(|| unreadable("a value has a \"\\\", \",\" or \"=\" that is not escaped"))?;
        if !equal || field != "metadata.name" {
            continue;
        }
        match &name {
            Some(earlier) if *earlier != value => return Err(unreadable("it asks for two names at once")),
            _ => name = Some(value),
        }
    }
    Ok(name.filter(|name| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])))
}

fn split_terms(selector: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

fn decode(text: &str, pair: &str) -> Result<String, Reject> {
    let unreadable = |what: &str| {
        Reject::bad(
            format!("the query has {}: {what}", shown(pair)),
            "Percent-encode what is not a letter, digit, \"-\", \".\", \"_\" or \"~\".",
        )
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex_pair(bytes.next(), bytes.next())
                .ok_or_else(|| unreadable("a \"%\" without two hexadecimal digits"))?,
            0..=b' ' | 0x7f.. => return Err(unreadable("a raw control or non-ASCII byte")),
            byte => byte,
        });
    }
    let text = String::from_utf8(out).map_err(|_| unreadable("not UTF-8 once decoded"))?;
    if text.contains('\0') { Err(unreadable("a NUL")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once() {
        let query = Query::parse("a=1&b=x%2By+z&&w%61tch&c=%2526").unwrap();
        assert_eq!(query.one("a"), Ok(Some("1")));
        assert_eq!(query.one("b"), Ok(Some("x+y z")));
        assert_eq!(query.one("c"), Ok(Some("%26")));
        assert_eq!(query.flag("watch"), Ok(true));
        assert_eq!(query.one("d"), Ok(None));
    }

    #[test]
    fn a_query_that_another_reader_would_cut_is_refused() {
        for raw in ["a=1;watch=1", "a=%", "a=%2", "a=%zz", "a=%ff", "a=%00", "%zz=1"] {
            assert!(Query::parse(raw).is_err(), "{raw}");
        }
        assert!(Query::parse("watch=0&watch=1").unwrap().flag("watch").is_err());
        assert!(Query::parse("watch=yes").unwrap().flag("watch").is_err());
    }

    #[test]
    fn a_field_selector_pins_a_name_as_the_server_reads_it() {
        let name = |selector: &str| selected_name(selector).map(|name| name.unwrap_or_default());
        assert_eq!(name("metadata.name=web"), Ok("web".into()));
        assert_eq!(name("metadata.name==web"), Ok("web".into()));
        assert_eq!(name("spec.nodeName=n1,metadata.name=web"), Ok("web".into()));
        assert_eq!(name("metadata.name!=web"), Ok(String::new()));
        assert_eq!(name("metadata.name=a\\,b"), Ok("a,b".into()));
        assert_eq!(name("metadata.name=a/b"), Ok(String::new()));
        assert_eq!(name("metadata.name=.."), Ok(String::new()));
        assert_eq!(name("metadata.name="), Ok(String::new()));
        assert_eq!(name(""), Ok(String::new()));
        assert_eq!(name(" metadata.name=web"), Ok(String::new()));
        assert!(name("metadata.name=a,metadata.name=b").is_err());
        assert!(name("metadata.name").is_err());
        assert!(name("metadata.name=a=b").is_err());
        assert!(name("metadata.name=a\\b").is_err());
        assert!(name("metadata.name=a\\").is_err());
    }
}
