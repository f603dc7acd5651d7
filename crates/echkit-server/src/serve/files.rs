//! Static files.

use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tower_http::services::ServeDir;
use tower_service::Service;

use super::body::{ResponseBody, plain};
use super::small_file::{self, Found};

/// The only directory with a dot in front that is served (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// How much of a large file is read at a time: each part is a way to another thread and back.
const PART: usize = 256 * 1024;

/// The files below a directory: those that are there by their real path, and have no name that
/// begins with a dot.
pub(super) struct Files {
    root: PathBuf,
    service: ServeDir,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            service: ServeDir::new(root).with_buf_chunk_size(PART),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let found = match relative(request.uri().path()) {
            Some(relative) => {
                let (root, whole) = (self.root.clone(), is_for_whole(&request));
                let look = move || small_file::find(&root, &relative, whole);
                tokio::task::spawn_blocking(look).await
            }
            None => return plain(StatusCode::NOT_FOUND, ""),
        };
        let mut response = match found {
            Ok(Ok(Found::Small(file))) => file.response(),
            Ok(Ok(Found::Inside)) => self.by_name(request).await,
            // What is not there, what is outside, and what this user may not read.
            _ => return plain(StatusCode::NOT_FOUND, ""),
        };
        if response.status() == StatusCode::NOT_FOUND {
            return response;
        }
        // The content type is the file's, and no browser guesses another.
        response.headers_mut().insert(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        );
        response
    }

    /// Everything else that HTTP has for files: ranges, conditions, redirects to directories.
    async fn by_name(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let (mut parts, _) = request.into_parts();
        // Redirects to directories keep the host, whatever form the target had.
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = path.clone().into();
        }
        let request = Request::from_parts(parts, Empty::<Bytes>::new());
        let served: Result<_, Infallible> = self.service.clone().call(request).await;
        let Ok(response) = served;
        match response.status() {
            StatusCode::NOT_FOUND => plain(StatusCode::NOT_FOUND, ""),
            _ => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        }
    }
}

/// Whether the file is wanted as it is: no range of it, and under no condition.
fn is_for_whole(request: &Request<Incoming>) -> bool {
    let others = [
        RANGE,
        IF_MATCH,
        IF_MODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_RANGE,
        IF_UNMODIFIED_SINCE,
    ];
    let fields = request.headers();
    request.method() == Method::GET && !others.iter().any(|name| fields.contains_key(name))
}

/// The path of a URL as a path below the root, with the page of a directory. `None` for what leads
/// elsewhere, in any spelling, and for hidden files.
fn relative(path: &str) -> Option<PathBuf> {
    // A redirect to `//name/` would lead to another host.
    if path.starts_with("//") {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if decoded.contains(['\0', '\\']) {
        return None;
    }
    let mut relative = PathBuf::new();
    for component in Path::new(decoded.trim_start_matches('/')).components() {
        match component {
            Component::Normal(name) => {
                let name = name.to_str()?;
                if name.starts_with('.') && name != WELL_KNOWN {
                    return None;
                }
                relative.push(name);
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    if decoded.ends_with('/') {
        relative.push("index.html");
    }
    Some(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_root_are_paths() {
        for path in ["/", "/a", "/a/b.html", "/a%20b", "/.well-known/x", "/./a"] {
            assert!(relative(path).is_some(), "{path}");
        }
        for path in [
            "/..",
            "//a",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/%2E./a",
            "/..%2fa",
            "/a/..%2f..%2fb",
            "/..\\a",
            "/%5c..%5ca",
            "/.git/config",
            "/a/.env",
            "/%2egit/config",
            "/a%00",
            "/%ff",
        ] {
            assert_eq!(relative(path), None, "{path}");
        }
    }
}
