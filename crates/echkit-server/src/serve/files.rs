//! Static files.

use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tower_http::services::ServeDir;
use tower_service::Service;

use super::body::{ResponseBody, plain};

/// The only directory with a dot in front that is served (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

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
            service: ServeDir::new(root),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if !self.may_serve(request.uri().path()).await {
            return plain(StatusCode::NOT_FOUND, "");
        }
        let (mut parts, _) = request.into_parts();
        // Redirects to directories keep the host, whatever form the target had.
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = path.clone().into();
        }
        let request = Request::from_parts(parts, Empty::<Bytes>::new());
        let served: Result<_, Infallible> = self.service.clone().call(request).await;
        let Ok(response) = served;
        if response.status() == StatusCode::NOT_FOUND {
            return plain(StatusCode::NOT_FOUND, "");
        }
        let mut response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        // The content type is the file's, and no browser guesses another.
        response.headers_mut().insert(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        );
        response
    }

    /// Whether a path leads to something below the root. What does not exist is refused here too.
    async fn may_serve(&self, path: &str) -> bool {
        let Some(relative) = relative(path) else {
            return false;
        };
        let root = self.root.clone();
        let inside = tokio::task::spawn_blocking(move || {
            let real_root = root.canonicalize()?;
            let real = root.join(relative).canonicalize()?;
            std::io::Result::Ok(real.starts_with(real_root))
        });
        matches!(inside.await, Ok(Ok(true)))
    }
}

/// The path of a URL as a path below the root. `None` for what leads elsewhere, in any spelling,
/// and for hidden files.
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
