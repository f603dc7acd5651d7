//! Messages signed with a secret that both sides know (RFC 8945).

use aws_lc_rs::hmac;

use super::RecordType;
use super::message::Walk;
use super::tsig_key::TsigKey;
use crate::codec::Reader;
use crate::svcb::DomainName;

/// RFC 8945 §4.2: TSIG records have class ANY.
const CLASS_ANY: u16 = 255;
/// RFC 8945 §10: the recommended bound on the difference of two clocks, in seconds.
const FUDGE: u16 = 300;
/// Where a header counts the records of the additional section.
const ARCOUNT: usize = 10;

/// A signed message, and what is needed to verify the response to it.
#[derive(Debug)]
pub struct SignedRequest<'a> {
    key: &'a TsigKey,
    message: Vec<u8>,
    mac: Vec<u8>,
}

impl<'a> SignedRequest<'a> {
    /// Signs `message`, which has a whole header, at `now` in seconds of Unix time.
    pub fn new(key: &'a TsigKey, mut message: Vec<u8>, now: u64) -> Self {
        let id = message.first_chunk().copied().unwrap_or_default();
        let mut tsig = Tsig {
            algorithm: algorithm_name(key),
            time: now,
            fudge: FUDGE,
            mac: Vec::new(),
            id: u16::from_be_bytes(id),
            error: 0,
            other: Vec::new(),
        };
        // RFC 8945 §4.3: the message as it is without its TSIG record, and the variables.
        let signed = [message.as_slice(), &tsig.variables(key)].concat();
        tsig.mac = hmac::sign(&key.hmac(), &signed).as_ref().to_vec();
        tsig.append(key, &mut message);
        Self {
            key,
            message,
            mac: tsig.mac,
        }
    }

    /// The message with its signature.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Verifies that the response is the server's, made for this request (RFC 8945 §5.3).
    ///
    /// # Errors
    ///
    /// When it is not, and when the server says that it did not accept the request's signature.
    pub fn verify(&self, response: &[u8], now: u64) -> Result<(), TsigError> {
        let (without, owner, tsig) = split(response)?;
        // RFC 8945 §5.2: these come without a signature, for the server has no key for one.
        match tsig.error {
            16 => return Err(TsigError::BadSig),
            17 => return Err(TsigError::BadKey),
            _ => {}
        }
        if owner != *self.key.name() || tsig.algorithm != algorithm_name(self.key) {
            return Err(TsigError::OtherKey);
        }
        // RFC 8945 §5.3.1: the request's MAC with its length comes first.
        let length = u16::try_from(self.mac.len()).unwrap_or_default();
        let mut signed = length.to_be_bytes().to_vec();
        signed.extend_from_slice(&self.mac);
        signed.extend_from_slice(&without);
        signed.extend_from_slice(&tsig.variables(self.key));
        hmac::verify(&self.key.hmac(), &signed, &tsig.mac).map_err(|_| TsigError::Forged)?;
        match tsig.error {
            0 => {}
            18 => {
                let clock = tsig.other.as_slice().try_into().ok().map(seconds);
                return Err(TsigError::BadTime(clock));
            }
            code => return Err(TsigError::Other(code)),
        }
        match tsig.time.abs_diff(now) <= u64::from(tsig.fudge) {
            true => Ok(()),
            false => Err(TsigError::BadTime(Some(tsig.time))),
        }
    }
}

/// The data of a TSIG record (RFC 8945 §4.2).
struct Tsig {
    algorithm: DomainName,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    id: u16,
    error: u16,
    other: Vec<u8>,
}

impl Tsig {
    fn parse(rdata: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(rdata);
        let tsig = Self {
            algorithm: DomainName::read(&mut reader).ok()?,
            time: seconds(reader.bytes(6).ok()?.try_into().ok()?),
            fudge: reader.u16().ok()?,
            mac: reader.vec16().ok()?.to_vec(),
            id: reader.u16().ok()?,
            error: reader.u16().ok()?,
            other: reader.vec16().ok()?.to_vec(),
        };
        reader.is_empty().then_some(tsig)
    }

    /// What is signed of it (RFC 8945 §4.3.3), names in canonical form.
    fn variables(&self, key: &TsigKey) -> Vec<u8> {
        let mut out = key.name().wire().to_ascii_lowercase();
        out.extend(CLASS_ANY.to_be_bytes());
        out.extend(0u32.to_be_bytes());
        out.extend(self.algorithm.wire().to_ascii_lowercase());
        self.put_time(&mut out);
        out.extend(self.error.to_be_bytes());
        put_short(&mut out, &self.other);
        out
    }

    /// Writes the record behind `message`, which ends with its additional section.
    fn append(&self, key: &TsigKey, message: &mut Vec<u8>) {
        let mut rdata = self.algorithm.wire().to_ascii_lowercase();
        self.put_time(&mut rdata);
        put_short(&mut rdata, &self.mac);
        rdata.extend(self.id.to_be_bytes());
        rdata.extend(self.error.to_be_bytes());
        put_short(&mut rdata, &self.other);
        message.extend(key.name().wire().to_ascii_lowercase());
        message.extend(RecordType::TSIG.0.to_be_bytes());
        message.extend(CLASS_ANY.to_be_bytes());
        message.extend(0u32.to_be_bytes());
        put_short(message, &rdata);
        count_additional(message, 1);
    }

    fn put_time(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time.to_be_bytes()[2..]);
        out.extend(self.fudge.to_be_bytes());
    }
}

/// The message as it was before it was signed, the key's name, and the signature.
fn split(message: &[u8]) -> Result<(Vec<u8>, DomainName, Tsig), TsigError> {
    let broken = || TsigError::Malformed;
    let mut walk = Walk::new(message);
    let mut header = [0u16; 6];
    for field in &mut header {
        *field = walk.reader.u16().map_err(|_| broken())?;
    }
    let [_, _, questions, answers, authorities, additionals] = header;
    for _ in 0..questions {
        walk.name().ok_or_else(broken)?;
        walk.reader.bytes(4).map_err(|_| broken())?;
    }
    let records = [answers, authorities, additionals].map(u32::from);
    let mut last = None;
    for _ in 0..records.iter().sum() {
        let start = walk.reader.position();
        last = Some((start, walk.record().ok_or_else(broken)?));
    }
    // RFC 8945 §5.1: the last record of the additional section, and the end of the message.
    let (start, (record, class)) = last
        .filter(|_| additionals > 0)
        .ok_or(TsigError::Unsigned)?;
    if record.kind != RecordType::TSIG || class != CLASS_ANY {
        return Err(TsigError::Unsigned);
    }
    // RFC 8945 §4.2: the TTL is zero, and that is what is signed.
    if !walk.reader.is_empty() || record.ttl != 0 {
        return Err(broken());
    }
    let tsig = Tsig::parse(&record.rdata).ok_or_else(broken)?;
    let mut without = message.get(..start).ok_or_else(broken)?.to_vec();
    // RFC 8945 §4.3.2: with the id and the count of records that it had.
    without.splice(..2, tsig.id.to_be_bytes());
    count_additional(&mut without, -1);
    Ok((without, record.owner, tsig))
}

fn algorithm_name(key: &TsigKey) -> DomainName {
    // One label of letters, digits and a hyphen.
    DomainName::from_labels([key.algorithm().as_str()]).unwrap_or_else(|_| DomainName::root())
}

fn count_additional(message: &mut [u8], change: i16) {
    if let Some(count) = message
        .get_mut(ARCOUNT..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
    {
        *count = u16::from_be_bytes(*count)
            .wrapping_add_signed(change)
            .to_be_bytes();
    }
}

/// What is here is shorter than 65,536 octets: MACs, and records of one.
fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(bytes);
}

fn seconds(octets: [u8; 6]) -> u64 {
    octets
        .iter()
        .fold(0, |sum, octet| sum << 8 | u64::from(*octet))
}

/// Why a response does not prove that the server has the key and accepted the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TsigError {
    /// The server has no key of this name, another algorithm for it, or does not let it do this.
    #[error(
        "it does not know the key, or does not let it update the zone (BADKEY): compare its name, \
         algorithm and rights with the server's configuration"
    )]
    BadKey,
    /// The server has another secret.
    #[error("it has another secret for the key (BADSIG)")]
    BadSig,
    /// The clocks differ; the server's, where it told.
    #[error("its clock differs from ours by more than five minutes (BADTIME)")]
    BadTime(Option<u64>),
    /// Another TSIG error.
    #[error("it reports TSIG error {0}")]
    Other(u16),
    /// The response has no signature.
    #[error("its response is not signed")]
    Unsigned,
    /// The response is signed with another key.
    #[error("its response is signed with another key")]
    OtherKey,
    /// The signature is wrong.
    #[error("the signature of its response is wrong")]
    Forged,
    /// The response cannot be read.
    #[error("its response is malformed")]
    Malformed,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// An update signed by dnspython 2.8, and its signed responses: NOERROR, and BADTIME.
    const NOW: u64 = 1_800_000_000;
    const REQUEST: &str = "123428000001000100020001076578616d706c6503636f6d000006000103777777076578616d706c6503636f6dc00c00010001000000000004c0000201c01d000100ff000000000000c01d000100010000004d0004c00002020473697465076578616d706c650000fa00ff00000000003d0b686d61632d7368613235360000006b49d200012c0020da329dc272c4cfb32c34bf9dc8f562571513a12baeaf56cdeed212e2e10f9097123400000000";
    const RESPONSE: &str = "1234a8000001000000000001076578616d706c6503636f6d00000600010473697465076578616d706c650000fa00ff00000000003d0b686d61632d7368613235360000006b49d200012c0020554d7764553da04bcd6f75ca3c27ff029a24abe6e5da50ed1af376623ee6917d123400000000";
    const BAD_TIME: &str = "1234a8090001000000000001076578616d706c6503636f6d00000600010473697465076578616d706c650000fa00ff0000000000430b686d61632d7368613235360000006b49d200012c002087378ffc19a8bd96f817b0546e502bcb366f2cf257fe59fb651c88a83cd44b6e12340012000600006b49d200";

    fn bytes(hex: &str) -> Vec<u8> {
        HEXLOWER.decode(hex.as_bytes()).unwrap()
    }

    fn key() -> TsigKey {
        TsigKey::parse("hmac-sha256:Site.example:c2VjcmV0").unwrap()
    }

    fn request(key: &TsigKey) -> SignedRequest<'_> {
        let (unsigned, _, _) = split(&bytes(REQUEST)).unwrap();
        SignedRequest::new(key, unsigned, NOW)
    }

    #[test]
    fn requests_are_signed_as_another_library_signs_them() {
        let key = key();
        assert_eq!(request(&key).message(), bytes(REQUEST));
    }

    #[test]
    fn responses_are_verified_as_another_library_signs_them() {
        let key = key();
        let request = request(&key);
        assert_eq!(request.verify(&bytes(RESPONSE), NOW + 300), Ok(()));
        let late = request.verify(&bytes(RESPONSE), NOW + 301);
        assert_eq!(late, Err(TsigError::BadTime(Some(NOW))));
        let told = request.verify(&bytes(BAD_TIME), NOW);
        assert_eq!(told, Err(TsigError::BadTime(Some(NOW))));
    }

    #[test]
    fn a_changed_response_is_refused_wherever_it_was_changed() {
        let key = key();
        let request = request(&key);
        let good = bytes(RESPONSE);
        for at in 0..good.len() {
            // The id is replaced by the original one, and case in names counts for nothing.
            let mut changed = good.clone();
            changed[at] ^= 1;
            if at >= 2 {
                assert!(request.verify(&changed, NOW).is_err(), "octet {at}");
            }
            assert!(request.verify(&good[..at], NOW).is_err(), "{at} octets");
        }
        let (unsigned, _, _) = split(&good).unwrap();
        assert_eq!(request.verify(&unsigned, NOW), Err(TsigError::Unsigned));
        // Made for another request.
        let other = SignedRequest::new(&key, unsigned, NOW);
        assert_eq!(other.verify(&good, NOW), Err(TsigError::Forged));
        let secret = TsigKey::parse("hmac-sha256:site.example:b3RoZXI=").unwrap();
        let other = self::request(&secret);
        assert_eq!(other.verify(&good, NOW), Err(TsigError::Forged));
        let name = TsigKey::parse("hmac-sha256:other.example:c2VjcmV0").unwrap();
        let other = self::request(&name);
        assert_eq!(other.verify(&good, NOW), Err(TsigError::OtherKey));
    }

    #[test]
    fn unsigned_refusals_of_the_signature_say_which() {
        let key = key();
        let request = request(&key);
        for (code, error) in [(16, TsigError::BadSig), (17, TsigError::BadKey)] {
            let mut tsig = Tsig::parse(&split_rdata()).unwrap();
            tsig.error = code;
            tsig.mac.clear();
            let (mut response, _, _) = split(&bytes(RESPONSE)).unwrap();
            tsig.append(&key, &mut response);
            assert_eq!(request.verify(&response, NOW), Err(error));
        }
    }

    fn split_rdata() -> Vec<u8> {
        let (_, _, tsig) = split(&bytes(RESPONSE)).unwrap();
        let mut message = vec![0; 12];
        tsig.append(&key(), &mut message);
        let head = 12 + key().name().wire().len() + 10;
        message[head..].to_vec()
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = key();
            let _ = request(&key).verify(&bytes, NOW);
            let _ = SignedRequest::new(&key, bytes, NOW);
        }
    }
}
