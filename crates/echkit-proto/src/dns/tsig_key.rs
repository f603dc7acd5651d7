//! Keys of TSIG (RFC 8945), in the files of DNS servers' tools.

use core::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::svcb::DomainName;

/// What a message is signed with (RFC 8945 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TsigAlgorithm {
    /// `hmac-sha1`
    HmacSha1,
    /// `hmac-sha224`
    HmacSha224,
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha384`
    HmacSha384,
    /// `hmac-sha512`
    HmacSha512,
}

impl TsigAlgorithm {
    const ALL: [Self; 5] = [
        Self::HmacSha1,
        Self::HmacSha224,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The name in messages and in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha224 => "hmac-sha224",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    fn from_name(name: &str) -> Result<Self, TsigKeyError> {
        let name = name.trim_end_matches('.');
        let known = Self::ALL.into_iter();
        let mut found = known.filter(|known| known.as_str().eq_ignore_ascii_case(name));
        found
            .next()
            .ok_or_else(|| TsigKeyError::Algorithm(name.chars().take(40).collect()))
    }

    pub(super) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha224 => hmac::HMAC_SHA224,
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A key of TSIG. `Debug` does not show its secret.
///
/// ```
/// use echkit_proto::dns::TsigKey;
///
/// let key = TsigKey::parse("key \"site\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };")?;
/// assert_eq!(key.name().to_string(), "site");
/// # Ok::<(), echkit_proto::dns::TsigKeyError>(())
/// ```
#[derive(Clone)]
pub struct TsigKey {
    name: DomainName,
    algorithm: TsigAlgorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl TsigKey {
    /// Reads a key file: what `tsig-keygen` or `keymgr -t` prints, or the line
    /// `ALGORITHM:NAME:SECRET` of `knsupdate -y`.
    ///
    /// # Errors
    ///
    /// When there is no key, more than one, or a broken one. The text is in no error.
    pub fn parse(text: &str) -> Result<Self, TsigKeyError> {
        let tokens = tokens(text);
        if tokens.contains(&"{") {
            return Self::from_bind(&tokens);
        }
        let line = text.lines().map(|line| line.trim_start_matches('#').trim());
        let mut lines = line.filter(|line| line.split(':').count() == 3 && !line.contains(' '));
        if let Some(line) = lines.next() {
            if lines.next().is_some() {
                return Err(TsigKeyError::Several);
            }
            let mut parts = line.split(':');
            let mut next = || parts.next().unwrap_or_default();
            let (algorithm, name) = (next(), next());
            return Self::new(name, algorithm, next());
        }
        Self::from_knot(text)
    }

    /// `key "NAME" { algorithm ALGORITHM; secret "SECRET"; };`
    fn from_bind(tokens: &[&str]) -> Result<Self, TsigKeyError> {
        let keys = tokens.iter().filter(|token| **token == "{").count();
        if keys > 1 {
            return Err(TsigKeyError::Several);
        }
        let behind = |word: &str| {
            let at = tokens.iter().position(|token| *token == word)?;
            tokens.get(at + 1).copied()
        };
        let of = |word: &'static str| behind(word).ok_or(TsigKeyError::Missing(word));
        Self::new(of("key")?, of("algorithm")?, of("secret")?)
    }

    /// The section `key` of Knot's configuration.
    fn from_knot(text: &str) -> Result<Self, TsigKeyError> {
        let of = |word: &'static str| {
            let lines = text
                .lines()
                .map(|line| line.trim().trim_start_matches("- "));
            let mut values = lines.filter_map(|line| line.strip_prefix(word)?.strip_prefix(':'));
            let value = values.next().ok_or(TsigKeyError::Missing(word))?;
            match values.next() {
                Some(_) => Err(TsigKeyError::Several),
                None => Ok(value.trim().trim_matches('"')),
            }
        };
        Self::new(of("id")?, of("algorithm")?, of("secret")?)
    }

    fn new(name: &str, algorithm: &str, secret: &str) -> Result<Self, TsigKeyError> {
        let secret = BASE64.decode(secret.as_bytes());
        let secret = Zeroizing::new(secret.map_err(|_| TsigKeyError::Secret)?);
        if secret.is_empty() {
            return Err(TsigKeyError::Secret);
        }
        Ok(Self {
            name: name.parse().map_err(|_| TsigKeyError::Name)?,
            algorithm: TsigAlgorithm::from_name(algorithm)?,
            secret,
        })
    }

    /// The name by which the server knows the key.
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// What it signs with.
    pub fn algorithm(&self) -> TsigAlgorithm {
        self.algorithm
    }

    pub(super) fn hmac(&self) -> hmac::Key {
        hmac::Key::new(self.algorithm.hmac(), &self.secret)
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The words and braces of a configuration file in BIND's form, without comments.
fn tokens(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        match line.starts_with('#') || line.starts_with("//") {
            true => "",
            false => line,
        }
    });
    let split = |c: char| c.is_whitespace() || matches!(c, ';' | '"');
    lines
        .flat_map(|line| line.split(split))
        .flat_map(|word| match word.strip_suffix('{') {
            Some(word) => [word, "{"],
            None => [word, ""],
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Why a text is not a key of TSIG. None shows a part of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TsigKeyError {
    /// Something is missing.
    #[error("it has no {0}; give a file as tsig-keygen or keymgr -t prints it")]
    Missing(&'static str),
    /// More than one key.
    #[error("it has several keys; give a file with one")]
    Several,
    /// An algorithm that is not known, or not secure.
    #[error("its algorithm {0:?} is not supported; use hmac-sha256")]
    Algorithm(String),
    /// The name is not a domain name.
    #[error("its name is not a domain name")]
    Name,
    /// The secret is not base64, or empty.
    #[error("its secret is not base64")]
    Secret,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_files_of_servers_tools_are_read() {
        for text in [
            "key \"site.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n",
            "# a comment\nkey site.example { algorithm HMAC-SHA256.; secret c2VjcmV0; };",
            "key site.example{\nalgorithm hmac-sha256;\n// secret no;\nsecret c2VjcmV0;};",
            "# hmac-sha256:site.example:c2VjcmV0\n\
             key:\n  - id: site.example\n    algorithm: hmac-sha256\n    secret: c2VjcmV0\n",
            "key:\n  - id: site.example\n    algorithm: hmac-sha256\n    secret: \"c2VjcmV0\"\n",
            "hmac-sha256:site.example:c2VjcmV0",
        ] {
            let key = TsigKey::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(key.name(), &"site.example".parse().unwrap());
            assert_eq!(key.algorithm(), TsigAlgorithm::HmacSha256);
            assert_eq!(*key.secret, b"secret");
            assert!(!format!("{key:?}").contains("c2Vj"));
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_its_secret() {
        let line = "hmac-sha256:a:c2VjcmV0\n";
        for (text, error) in [
            ("", TsigKeyError::Missing("id")),
            (
                "key a { secret c2VjcmV0; };",
                TsigKeyError::Missing("algorithm"),
            ),
            (
                "hmac-md5:a:c2VjcmV0",
                TsigKeyError::Algorithm("hmac-md5".to_owned()),
            ),
            ("hmac-sha256:a:c2VjcmV", TsigKeyError::Secret),
            ("hmac-sha256:a:", TsigKeyError::Secret),
            ("hmac-sha256:a..b:c2VjcmV0", TsigKeyError::Name),
            (&line.repeat(2), TsigKeyError::Several),
        ] {
            let got = TsigKey::parse(text).unwrap_err();
            assert_eq!(got, error, "{text}");
            assert!(!got.to_string().contains("c2Vj"));
        }
    }
}
