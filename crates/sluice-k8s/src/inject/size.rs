//! Bytes, as Kubernetes writes them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A quantity of bytes: `1Gi`, `500M`, `1073741824`. Keeps how it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    text: String,
    bytes: u64,
}

/// What is no quantity of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size; write bytes as Kubernetes does, such as 1Gi or 500M")]
pub struct SizeError(String);

impl Size {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What may be used of a volume of this size: three quarters. The kubelet
    /// evicts a pod whose volume is over its limit, and a file system takes
    /// more than the bytes of the files.
    pub fn most_used(&self) -> u64 {
        self.bytes - self.bytes / 4
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { text: "1Gi".to_owned(), bytes: 1 << 30 }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        match bytes(text) {
            Some(bytes) if bytes > 0 => Ok(Self { text: text.to_owned(), bytes }),
            _ => Err(SizeError(text.chars().take(64).collect())),
        }
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;

    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.text
    }
}

/// `<digits>[.<digits>][suffix]`; a part of a byte counts as one.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + part.len() == 0 || whole.len() + part.len() > 20 || part.contains('.') {
        return None;
    }
    let mantissa: u128 = format!("{whole}{part}").parse().ok()?;
    let product = mantissa.checked_mul(unit(suffix)?)?;
    u64::try_from(product.div_ceil(10_u128.checked_pow(u32::try_from(part.len()).ok()?)?)).ok()
}

fn unit(suffix: &str) -> Option<u128> {
    Some(match suffix {
        "" => 1,
        "k" => 10_u128.pow(3),
        "M" => 10_u128.pow(6),
        "G" => 10_u128.pow(9),
        "T" => 10_u128.pow(12),
        "P" => 10_u128.pow(15),
        "E" => 10_u128.pow(18),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            10_u128.checked_pow(digits.parse().ok().filter(|power| *power <= 18)?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_kubernetes_takes_them_for() {
        for (text, bytes) in [
            ("1Gi", 1 << 30),
            ("512Mi", 512 << 20),
            ("1.5Ki", 1536),
            ("500M", 500_000_000),
            ("64k", 64_000),
            ("1073741824", 1 << 30),
            ("1e6", 1_000_000),
            ("2E+3", 2000),
            ("1E", 10_u64.pow(18)),
            (".5", 1),
        ] {
            assert_eq!(text.parse::<Size>().map(|size| size.bytes()), Ok(bytes), "{text}");
        }
        assert_eq!(Size::default(), "1Gi".parse().expect("a size"));
        assert_eq!(Size::default().most_used(), 768 << 20);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "0", "0Gi", "-1Gi", "1 Gi", "1gi", "1GiB", "Gi", ".", "1.2.3", "99Ei", "1e-3", "1e99", "1e+"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        let error = serde_json::from_str::<Size>("\"lots\"").expect_err("no size").to_string();
        assert!(error.contains("lots") && error.contains("1Gi"), "{error}");
    }
}
