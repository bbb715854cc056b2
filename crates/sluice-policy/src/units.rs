//! Numbers with units, names and hosts, as people write them.

use std::time::Duration;

use crate::spec::Quantity;

/// Bytes of `64Mi`, `500k`, `1048576`.
pub(crate) fn bytes(quantity: &Quantity) -> Result<u64, String> {
    let text = match quantity {
        Quantity::Number(0) => return Err("`0` would stop every response; write at least 1".to_owned()),
        Quantity::Number(number) => return Ok(*number),
        Quantity::Text(text) => text,
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit: u64 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(format!("`{text}` is no number of bytes; write a whole number and k, M, G, Ki, Mi or Gi")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no number of bytes; write a whole number such as 64Mi, 500k or 1048576"))?;
    match number.checked_mul(unit) {
        Some(0) => Err(format!("`{text}` would stop every response; write at least 1")),
        Some(bytes) => Ok(bytes),
        None => Err(format!("`{text}` is more than {} bytes; write less", u64::MAX)),
    }
}

/// Time of `24h`, `1h30m`, `45s`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write numbers with h, m, s or ms, such as 24h or 1h30m");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (unit, tail) = if let Some(tail) = tail.strip_prefix("ms") {
            (1, tail)
        } else if let Some(tail) = tail.strip_prefix('s') {
            (1_000, tail)
        } else if let Some(tail) = tail.strip_prefix('m') {
            (60_000, tail)
        } else if let Some(tail) = tail.strip_prefix('h') {
            (3_600_000, tail)
        } else {
            return Err(wrong());
        };
        let part = number.checked_mul(unit).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

/// A host name in lower case without a trailing dot.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    if text.contains("://") || text.contains('/') {
        return Err(format!("`{text}` is no host name; write it without scheme and path, such as `api.example.com`"));
    }
    if name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[') {
        return Err(format!("`{text}` is an address; write the host name that clients use"));
    }
    if text.contains(':') {
        return Err(format!("`{text}` has a port; write the name alone, and the port under `ports`"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("`{text}` is no host name; write letters, digits and `-` in labels divided by `.`"));
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("`{text}` ends like an address; write the host name that clients use"));
    }
    Ok(name.to_owned())
}

/// A name of a document, target or rule (RFC 1123 subdomain).
pub(crate) fn name(text: &str) -> Result<(), String> {
    let fine = (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().next_back().is_some_and(|b| b.is_ascii_alphanumeric());
    if fine {
        Ok(())
    } else {
        let shown: String = text.chars().take(64).collect();
        Err(format!(
            "`{shown}` is no name; write lower case letters, digits, `-` and `.`, a letter or digit at both ends"
        ))
    }
}

/// Ports; none written means 443.
pub(crate) fn ports(written: &[u16]) -> Result<Vec<u16>, String> {
    if written.contains(&0) {
        return Err("0 is no port; write 1 to 65535".to_owned());
    }
    if written.is_empty() {
        return Ok(vec![443]);
    }
    let mut ports = written.to_vec();
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// Whether `text` fits `pattern`, in which each `*` stands for any characters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in
            [("64Mi", 64 << 20), ("500k", 500_000), ("1", 1), ("2Gi", 2 << 30), ("3G", 3_000_000_000)]
        {
            assert_eq!(bytes(&Quantity::Text(text.to_owned())), Ok(expected), "{text}");
        }
        for text in ["", "Mi", "1.5Mi", "-1", "64MB", "64 Mi", "0", "0k", "99999999999Gi", "99999999999999999999"] {
            assert!(bytes(&Quantity::Text(text.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("24h", 86_400), ("1h30m", 5_400), ("45s", 45), ("1000ms", 1), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "24", "h", "1d", "-1h", "1.5h", "1h ", "99999999999999999999h", "9999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "dev", true),
            ("dev", "dev", true),
            ("dev", "devs", false),
            ("team-*", "team-a", true),
            ("team-*", "team", false),
            ("*-dev", "a-dev", true),
            ("*-dev", "a-dev-b", false),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(host("Prod.Example.COM."), Ok("prod.example.com".to_owned()));
        for text in
            ["https://a.b", "a.b/c", "a.b:443", "10.0.0.1", "[::1]", "::1", "a..b", "-a.b", "", "a_b.c", "1.2.3", "*.b"]
        {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
