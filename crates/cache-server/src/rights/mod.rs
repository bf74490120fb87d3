//! Who may do what.

mod credential;
mod throttle;
mod token;

use std::net::IpAddr;

use cache_core::Namespace;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::reply::Refusal;

pub(crate) use throttle::Throttle;
pub use token::{Secret, Token};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Read.
    Read,
    /// Read, store and delete.
    ReadWrite,
}

/// What those may do who send no credential, once there are tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// Nothing.
    #[default]
    Off,
    /// Read what is in the namespace `default`.
    Read,
}

/// Who may do what. Without any token, whoever reaches the server may do everything.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Those who may do something.
    pub tokens: Vec<Token>,
    /// What all others may do, once there are tokens.
    pub anonymous: Anonymous,
}

/// What a request may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) right: Right,
    /// The only namespace that it may use; all, if nothing.
    pub(crate) only: Option<Namespace>,
    /// Whether a credential could give it more.
    pub(crate) anonymous: bool,
}

impl Rights {
    /// Returns whether whoever reaches the server may do everything.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Returns what a request with these `headers` from `peer` may do.
    pub(crate) fn admit(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        throttle: &Throttle,
    ) -> Result<Grant, Refusal> {
        if self.is_open() {
            return Ok(Grant { right: Right::ReadWrite, only: None, anonymous: false });
        }
        let Some(value) = headers.get(http::header::AUTHORIZATION) else {
            return match self.anonymous {
                Anonymous::Off => Err(Refusal::unauthorized(
                    "a token is needed here, as Bearer or as the password of Basic",
                )),
                Anonymous::Read => {
                    Ok(Grant { right: Right::Read, only: Some(Namespace::default()), anonymous: true })
                }
            };
        };
        let secret = credential::secret(value.as_bytes());
        let token = secret.and_then(|secret| Token::find(&self.tokens, &secret));
        if let Some(token) = token {
            return Ok(Grant { right: token.right, only: token.namespace.clone(), anonymous: false });
        }
        // Somebody behind the same address who has a good token is not kept out; guessing 256 bits is no danger, but every
        // failure costs a line in the log.
        match throttle.fail(peer) {
            Ok(()) => Err(Refusal::unauthorized("the token is not known here")),
            Err(wait) => {
                let message = "too many unknown tokens came from this address";
                Err(Refusal::later(StatusCode::TOO_MANY_REQUESTS, message, wait.as_secs().max(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::AUTHORIZATION;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn tokens_give_their_right_and_nothing_else_does() {
        let throttle = Throttle::default();
        let (token, secret) =
            Token::create("ci", Right::Read, Some(Namespace::new("team").unwrap())).unwrap();
        let mut rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
        let grant = rights.admit(&headers(&format!("Bearer {}", secret.reveal())), PEER, &throttle).unwrap();
        assert_eq!(
            grant,
            Grant { right: Right::Read, only: Some(Namespace::new("team").unwrap()), anonymous: false }
        );
        for wrong in ["Bearer vc_0", "Bearer", "Digest x", "Basic ???", "Basic YTpi"] {
            let refusal = rights.admit(&headers(wrong), PEER, &throttle).unwrap_err();
            assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        }
        assert_eq!(
            rights.admit(&HeaderMap::new(), PEER, &throttle).unwrap_err().status(),
            StatusCode::UNAUTHORIZED
        );
        rights.anonymous = Anonymous::Read;
        let grant = rights.admit(&HeaderMap::new(), PEER, &throttle).unwrap();
        assert_eq!((grant.right, grant.only), (Right::Read, Some(Namespace::default())));
        // A wrong token is a mistake that its owner wants to hear of, also where none is needed.
        assert!(rights.admit(&headers("Bearer wrong"), PEER, &throttle).is_err());
    }

    #[test]
    fn many_failures_are_throttled_but_a_good_token_is_not() {
        let throttle = Throttle::default();
        let (token, secret) = Token::create("ci", Right::Read, None).unwrap();
        let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
        let mut last = StatusCode::OK;
        for _ in 0..=throttle::FAILURES {
            last = rights.admit(&headers("Bearer wrong"), PEER, &throttle).unwrap_err().status();
        }
        assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
        assert!(rights.admit(&headers(&format!("Bearer {}", secret.reveal())), PEER, &throttle).is_ok());
    }
}
