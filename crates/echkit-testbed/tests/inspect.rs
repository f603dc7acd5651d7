//! Captures, cases and addresses over HTTP, for tests in other languages.
#![allow(clippy::unwrap_used)]

use data_encoding::BASE64;
use echkit::policy::EchMode;
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, ErrorKind};
use echkit_testbed::{Inspector, Testbed};
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

struct Bed {
    testbed: Testbed,
    inspector: Inspector,
    plain: Client,
}

impl Bed {
    async fn start() -> Self {
        let builder = Testbed::builder().only(["nominal", "no-ech"]);
        let testbed = builder.start().await.unwrap();
        let inspector = testbed.inspect(0).await.unwrap();
        let plain = Client::builder().ech(EchMode::Off).build().unwrap();
        Self {
            testbed,
            inspector,
            plain,
        }
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, String) {
        let url = format!("{}{path}", self.inspector.url());
        let mut response = self.plain.request(method, &url).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, text) = self.ask(Method::GET, path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn visit(&self, case: &str, mode: EchMode) {
        let trust = Trust::certificates([self.testbed.ca_der()]).unwrap();
        let client = Client::builder()
            .ech(mode)
            .keep_alive(None)
            .dns(self.testbed.dns_uri())
            .tls(ClientTls::builder().trust(trust))
            .build()
            .unwrap();
        let url = self.testbed.url(case).unwrap();
        client.get(url).send().await.unwrap().bytes().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_are_read_and_forgotten() {
    let bed = Bed::start().await;
    assert_eq!(bed.json("/captures").await, serde_json::json!([]));
    bed.visit("nominal", EchMode::Require).await;
    bed.visit("no-ech", EchMode::Off).await;
    let captures = bed.json("/captures?wait=60").await;
    let [hidden, shown] = captures.as_array().unwrap().as_slice() else {
        panic!("{captures}");
    };
    assert_eq!(hidden["names"], serde_json::json!(["public.ech.test"]));
    assert_eq!(shown["names"], serde_json::json!(["no-ech.ech.test"]));
    for (capture, ours) in [hidden, shown].iter().zip(bed.testbed.captures()) {
        assert_eq!(
            (capture["case"].as_str(), &capture["ended"]),
            (Some(&*ours.case), &true.into())
        );
        let bytes = capture["base64"].as_str().unwrap();
        assert_eq!(BASE64.decode(bytes.as_bytes()).unwrap(), ours.bytes);
    }
    let one = bed.json("/captures?case=no-ech").await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(
        bed.ask(Method::DELETE, "/captures").await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(bed.json("/captures").await, serde_json::json!([]));
    assert!(bed.testbed.captures().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_and_addresses_are_those_of_the_dns() {
    let bed = Bed::start().await;
    let cases = bed.json("/cases").await;
    let names: Vec<_> = cases
        .as_array()
        .unwrap()
        .iter()
        .map(|case| &case["name"])
        .collect();
    assert_eq!(names, ["nominal", "no-ech"]);
    let (_, lines) = bed.ask(Method::GET, "/hosts").await;
    assert!(lines.contains("127.0.0.1 nominal.ech.test\n"), "{lines}");
    let (_, index) = bed.ask(Method::GET, "/").await;
    assert!(index.contains("/captures"), "{index}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_and_so_are_the_pages_of_others() {
    let bed = Bed::start().await;
    for (method, path, status) in [
        (Method::GET, "/nothing", StatusCode::NOT_FOUND),
        (Method::POST, "/captures", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "/cases", StatusCode::METHOD_NOT_ALLOWED),
        (
            Method::GET,
            "/captures?case=nominall",
            StatusCode::BAD_REQUEST,
        ),
        (Method::GET, "/captures?wait=long", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(bed.ask(method, path).await.0, status, "{path}");
    }
    // A page whose name was made to resolve to loopback.
    let captures = format!("{}/captures", bed.inspector.url());
    let request = bed.plain.get(&captures);
    let request = request.header("host", HeaderValue::from_static("rebound.example"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);

    let url = bed.inspector.url();
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let error = bed.testbed.inspect(port).await.unwrap_err().to_string();
    assert!(error.contains("captures over HTTP"), "{error}");
    // It ends with its handle.
    drop(bed.inspector);
    loop {
        match bed.plain.get(&url).send().await {
            Err(error) if error.kind() == ErrorKind::Connect => break,
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passed_a_proxy_is_read_and_forgotten() {
    let bed = Bed::start().await;
    for (name, mode) in [("open", EchMode::Require), ("drips", EchMode::Off)] {
        let trust = Trust::certificates([bed.testbed.ca_der()]).unwrap();
        let client = Client::builder()
            .ech(mode)
            .keep_alive(None)
            .family(echkit::policy::AddressFamily::V4)
            .dns(bed.testbed.dns_uri())
            .proxy(
                bed.testbed
                    .proxy(name)
                    .unwrap()
                    .uri("http")
                    .parse()
                    .unwrap(),
            )
            .tls(ClientTls::builder().trust(trust))
            .build()
            .unwrap();
        let url = bed.testbed.url("nominal").unwrap();
        client.get(url).send().await.unwrap().bytes().await.unwrap();
    }
    let place = format!("127.0.0.1:{}", bed.testbed.case("nominal").unwrap().port);
    let proxied = bed.json("/proxies?wait=60").await;
    let [hidden, shown] = proxied.as_array().unwrap().as_slice() else {
        panic!("{proxied}");
    };
    for (one, name, read) in [
        (hidden, "open", "public.ech.test"),
        (shown, "drips", "nominal.ech.test"),
    ] {
        assert_eq!(
            (&one["proxy"], &one["asked"]),
            (&name.into(), &(&*place).into())
        );
        assert_eq!(one["names"], serde_json::json!([read]));
        let ours = bed.testbed.proxy(name).unwrap().captures().remove(0);
        for (side, bytes) in [("sent", ours.sent), ("received", ours.received)] {
            let encoded = one[side].as_str().unwrap();
            assert_eq!(BASE64.decode(encoded.as_bytes()).unwrap(), bytes);
        }
    }
    let one = bed.json("/proxies?name=drips").await;
    assert_eq!(one, serde_json::json!([shown]));
    let (status, _) = bed.ask(Method::GET, "/proxies?name=nowhere").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = bed.ask(Method::DELETE, "/proxies").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(bed.json("/proxies").await, serde_json::json!([]));
}
