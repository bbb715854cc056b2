//! How Java programs are told of the gateway's trust store: by options in an
//! environment variable, appended to what is there. The injection and
//! `sluice run` do it alike.
//!
//! A trust store takes the place of Java's own, so there can be one only.

/// The variable that every Java program reads.
pub const VARIABLE: &str = "JAVA_TOOL_OPTIONS";
/// All variables in which options can stand. The later ones count more.
pub const VARIABLES: [&str; 3] = [VARIABLE, "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// Options of other trust stores begin so.
pub const TRUST_STORE: &str = "-Djavax.net.ssl.trustStore";

/// The options that name the store in the file `store`. It needs no password,
/// but some programs insist on one: this is the one of Java's own store, and no
/// secret.
pub fn options(store: &str) -> String {
    let quote = if store.contains(char::is_whitespace) { "\"" } else { "" };
    format!("{TRUST_STORE}={quote}{store}{quote} {TRUST_STORE}Type=PKCS12 {TRUST_STORE}Password=changeit")
}

/// A value of [`VARIABLE`] with `ours` at its end, once.
pub fn appended(value: &str, ours: &str) -> String {
    let own = without(value, ours);
    if own.is_empty() { ours.to_owned() } else { format!("{own} {ours}") }
}

/// Whether a value of one of [`VARIABLES`] names a trust store other than
/// `ours`.
pub fn names_another_store(value: &str, ours: &str) -> bool {
    without(value, ours).contains(TRUST_STORE)
}

fn without<'a>(value: &'a str, ours: &str) -> &'a str {
    value.strip_suffix(ours).unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_last_and_once() {
        let ours = options("/trust/java.p12");
        for own in ["", " ", "-Xmx1g", "-Da='b c' -Xmx1g \n"] {
            let once = appended(own, &ours);
            assert!(once.starts_with(own.trim_end()) && once.ends_with(&ours), "{once}");
            assert_eq!(appended(&once, &ours), once);
            assert!(!names_another_store(&once, &ours));
        }
        assert!(options("/a b/java.p12").contains("=\"/a b/java.p12\" "));
    }

    #[test]
    fn another_store_is_seen_before_and_after_ours() {
        let ours = options("/trust/java.p12");
        for own in [
            "-Djavax.net.ssl.trustStore=/own".to_owned(),
            "-Djavax.net.ssl.trustStoreType=JKS".to_owned(),
            format!("-Djavax.net.ssl.trustStore=/own {ours}"),
            format!("{ours} -Djavax.net.ssl.trustStorePassword=x"),
            options("/other/java.p12"),
        ] {
            assert!(names_another_store(&own, &ours), "{own}");
        }
        assert!(!names_another_store("-Djavax.net.ssl.keyStore=/own", &ours));
    }
}
