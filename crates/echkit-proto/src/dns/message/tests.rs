#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn question() -> Question {
    Question {
        name: "example.com".parse().unwrap(),
        kind: RecordType::HTTPS,
    }
}

/// A response with the question in it, and what follows.
fn response(flags: u16, counts: [u16; 3], rest: &[u8]) -> Vec<u8> {
    let mut out = vec![0x12, 0x34];
    for field in [flags, 1, counts[0], counts[1], counts[2]] {
        out.extend(field.to_be_bytes());
    }
    out.extend(b"\x07example\x03com\0\0\x41\0\x01");
    out.extend(rest);
    out
}

fn record(owner: &[u8], kind: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rdata.len()).unwrap();
    let head = [
        &kind.to_be_bytes()[..],
        &[0, 1],
        &ttl.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    [owner, &head.concat(), rdata].concat()
}

#[test]
fn queries_on_encrypted_transports_are_padded_to_blocks() {
    for name in [
        "a.example".to_owned(),
        "b".repeat(60) + ".example",
        vec!["c".repeat(50); 4].join("."),
    ] {
        let question = Question {
            name: name.parse().unwrap(),
            kind: RecordType::HTTPS,
        };
        let padded = question.encode(0, EdnsUse::Padded);
        assert_eq!(padded.len() % 128, 0);
        let plain = question.encode(0, EdnsUse::Plain);
        assert!(padded.len() > plain.len() && padded.len() < plain.len() + 4 + 128);
        assert_eq!(question.encode(0, EdnsUse::Off).len() + 11, plain.len());
    }
}

#[test]
fn a_dns_library_writes_the_same_queries() {
    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::opt::EdnsOption;
    use hickory_proto::rr::{Name, RecordType as HickoryType};

    for name in [
        ".",
        "a.example",
        "WWW.b-c.Example",
        r"\000\255.x\.y.example",
    ] {
        let name: DomainName = name.parse().unwrap();
        for (edns, kind) in [
            (EdnsUse::Off, RecordType::HTTPS),
            (EdnsUse::Plain, RecordType::AAAA),
            (EdnsUse::Padded, RecordType::SVCB),
        ] {
            let question = Question {
                name: name.clone(),
                kind,
            };
            let ours = question.encode(0xbeef, edns);
            let mut theirs = Message::new(0xbeef, MessageType::Query, OpCode::Query);
            theirs.metadata.recursion_desired = true;
            theirs.metadata.authentic_data = true;
            let labels = Name::from_labels(name.labels()).unwrap();
            theirs.add_query(Query::query(labels, HickoryType::from(kind.0)));
            if edns != EdnsUse::Off {
                let mut options = Edns::new();
                options.set_max_payload(UDP_PAYLOAD);
                if edns == EdnsUse::Padded {
                    let padding = 128 - 12 - name.wire().len() - 4 - 11 - 4;
                    let padding = EdnsOption::Unknown(OPTION_PADDING, vec![0; padding]);
                    options.options_mut().insert(padding);
                }
                theirs.set_edns(options);
            }
            assert_eq!(ours, theirs.to_vec().unwrap(), "{name} {edns:?}");
            let framed = question.encode_for_stream(0xbeef, edns);
            assert_eq!(Reader::new(&framed).vec16(), Ok(&ours[..]));
        }
    }
}

#[test]
fn a_name_has_a_bounded_number_of_pointers() {
    // The root, then pointers each of which leads to the one before.
    let chain = |pointers: usize| {
        let mut message = vec![0];
        for to in core::iter::once(0).chain((1..).step_by(2)).take(pointers) {
            message.extend((0xc000 | u16::try_from(to).unwrap()).to_be_bytes());
        }
        message
    };
    for (pointers, read) in [(1, true), (MAX_POINTERS, true), (MAX_POINTERS + 1, false)] {
        let message = chain(pointers);
        let mut walk = Walk::new(&message);
        walk.reader = Reader::starting_at(&message, message.len() - 2);
        let name = walk.name();
        assert_eq!(name, read.then(DomainName::root), "{pointers}");
        assert!(!read || walk.reader.is_empty());
    }
}

/// 16 KB of pointers, each to the one before, inside the data of one record, and records that
/// begin with a pointer to one of them, as many as 64 KB hold.
fn pointer_chain(link: usize) -> (Vec<u8>, usize) {
    let start = response(0x8180, [0; 3], &[]).len() + record(b"\0", 99, 60, b"").len();
    let mut chain = vec![0];
    let mut last = start;
    let pointer = |to: usize| (0xc000 | u16::try_from(to).unwrap()).to_be_bytes();
    while chain.len() < 16_000 {
        let here = start + chain.len();
        chain.extend(pointer(last));
        last = here;
    }
    let mut rest = record(b"\0", 99, 60, &chain);
    let one = record(&pointer(start + 1 + 2 * link), 1, 60, &[]);
    let records = (65_535 - 29 - rest.len()) / one.len();
    rest.extend(one.repeat(records));
    let count = u16::try_from(records + 1).unwrap();
    (response(0x8180, [count, 0, 0], &rest), records)
}

#[test]
fn pointers_cannot_make_a_message_cost_more_than_its_records() {
    // With the owner's own pointer, as many as are allowed.
    let (message, records) = pointer_chain(MAX_POINTERS - 2);
    assert!(message.len() > 65_500 && records > 4_000);
    let mut walk = Walk::new(&message);
    let got = DnsResponse::read(&mut walk, &question(), 0x1234).unwrap();
    assert_eq!(got.answers.len(), records + 1);
    assert!(walk.steps <= (records + 2) * (MAX_POINTERS + 2));
    // All of the chain, which ends the walk at the first record.
    let (message, _) = pointer_chain(7_900);
    let mut walk = Walk::new(&message);
    let error = DnsResponse::read(&mut walk, &question(), 0x1234).unwrap_err();
    assert!(matches!(error, ResponseError::Broken(_)));
    assert!(walk.steps <= MAX_POINTERS + 10, "{}", walk.steps);
}

#[test]
fn rdata_stays_raw_and_compressed_owners_do_not() {
    let rest = [
        record(b"\xc0\x0c", 5, 60, b"\x03svc\xc0\x14"),
        record(b"\x03svc\xc0\x14", 65, 30, b"\0\x01\xff garbage"),
    ];
    let got = DnsResponse::parse(
        &response(0x8180, [2, 0, 0], &rest.concat()),
        &question(),
        0x1234,
    )
    .unwrap();
    assert_eq!(got.answers[0].cname, Some("svc.com".parse().unwrap()));
    assert_eq!(got.answers[1].owner, "svc.com".parse().unwrap());
    assert_eq!(got.answers[1].rdata, b"\0\x01\xff garbage");
}

#[test]
fn negative_lifetime_is_the_smaller_of_the_two() {
    let soa = [&b"\x01a\0\x01b\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
    for (ttl, want) in [(3600, 60), (10, 10), (u32::MAX, 0)] {
        let rest = record(b"\xc0\x0c", 6, ttl, &soa);
        let got = DnsResponse::parse(&response(0x8183, [0, 1, 0], &rest), &question(), 0x1234);
        assert_eq!(got.unwrap().negative_ttl, Some(want));
    }
}

#[test]
fn a_referral_is_no_answer() {
    let rest = record(b"\x03com\0", 2, 60, b"\x01a\0");
    let got = DnsResponse::parse(&response(0x8000, [0, 1, 0], &rest), &question(), 0x1234);
    assert!(got.unwrap().referral);
}

#[test]
fn names_in_ns_and_soa_records_are_uncompressed() {
    let soa = [&b"\x02ns\xc0\x0c\xc0\x0c"[..], &[7; 20]].concat();
    let rest = [
        record(b"\xc0\x0c", 2, 60, b"\x02ns\xc0\x0c"),
        record(b"\xc0\x0c", 6, 60, &soa),
        record(b"\xc0\x0c", 2, 60, b"\xc0\xff"),
    ]
    .concat();
    let got = DnsResponse::parse(&response(0x8400, [3, 0, 0], &rest), &question(), 0x1234);
    let got = got.unwrap();
    assert!(got.authoritative);
    let (zone, host) = (b"\x07example\x03com\0", b"\x02ns\x07example\x03com\0");
    assert_eq!(got.answers[0].rdata, host);
    assert_eq!(got.answers[1].rdata, [&host[..], zone, &[7; 20]].concat());
    assert_eq!(
        got.answers[2].rdata, b"\xc0\xff",
        "broken ones stay as they came"
    );
}

#[test]
fn the_response_code_has_an_upper_part() {
    let rest = [
        &b"\0\0\x29\x04\xd0"[..],
        &0x0100_0000u32.to_be_bytes(),
        &[0, 0],
    ]
    .concat();
    let got = DnsResponse::parse(&response(0x8180, [0, 0, 1], &rest), &question(), 0x1234);
    assert_eq!(got.unwrap().rcode, 16);
}

#[test]
fn forged_and_broken_responses_are_told_apart() {
    let parse = |bytes: &[u8]| DnsResponse::parse(bytes, &question(), 0x1234).unwrap_err();
    let good = response(0x8180, [0, 0, 0], &[]);
    assert!(DnsResponse::parse(&good, &question(), 0x1234).is_ok());
    for (at, value) in [
        (0, 0xff),
        (2, 0x01),
        (2, 0xa8),
        (5, 0),
        (13, b'x'),
        (26, 1),
        (28, 3),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(
            matches!(parse(&bytes), ResponseError::NotOurs(_)),
            "octet {at}"
        );
    }
    for length in 0..good.len() {
        assert!(matches!(parse(&good[..length]), ResponseError::NotOurs(_)));
    }
    let whole = record(b"\xc0\x0c", 65, 60, b"abc");
    for length in 0..whole.len() {
        let bytes = response(0x8180, [1, 0, 0], &whole[..length]);
        assert!(matches!(parse(&bytes), ResponseError::Broken(_)));
    }
    // Pointers forward, to themselves, and a CNAME that runs out of its RDATA.
    for rest in [
        record(b"\xc0\xff", 65, 60, b""),
        record(b"\xc0\x1d", 65, 60, b""),
        record(b"\xc0\x0c", 5, 60, b"\x03ab"),
        record(b"\xc0\x0c", 5, 60, b"\x01a\0x"),
    ] {
        assert!(matches!(
            parse(&response(0x8180, [1, 0, 0], &rest)),
            ResponseError::Broken(_)
        ));
    }
}

#[test]
fn a_truncated_response_is_not_walked() {
    let bytes = response(0x8380, [9, 9, 9], &[1, 2, 3]);
    let got = DnsResponse::parse(&bytes, &question(), 0x1234).unwrap();
    assert!(got.truncated && got.answers.is_empty());
}

proptest! {
    #[test]
    fn never_panics(rest in prop::collection::vec(any::<u8>(), 0..300), counts: [u8; 3]) {
        let bytes = response(0x8180, counts.map(u16::from), &rest);
        let _ = DnsResponse::parse(&bytes, &question(), 0x1234);
        let _ = DnsResponse::parse(&rest, &question(), 0x1234);
    }
}
