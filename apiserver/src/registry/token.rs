//! `serviceaccounts/token`: the TokenRequest subresource. The registry checks the account and the object that the
//! token is to be bound to; the signing is the gate's ([`TokenIssuer`]).

use gantry_machinery::status::Status;

/// What a token is to say. Everything in it has been checked.
#[derive(Clone, Debug)]
pub struct TokenClaims {
    /// The account's namespace.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// The account's uid.
    pub account_uid: String,
    /// Whom the token is for; empty means the API server itself.
    pub audiences: Vec<String>,
    /// For how long it is asked; the issuer may say less.
    pub expiration_seconds: i64,
    /// The object whose deletion ends the token.
    pub bound_to: Option<BoundObject>,
}

/// An object that a token is bound to.
#[derive(Clone, Debug)]
pub struct BoundObject {
    /// `Pod`, `Secret` or `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// For pods: the node they run on, if any, and its uid.
    pub node: Option<(String, String)>,
}

/// A signed token.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// Whom it is for, defaults filled in.
    pub audiences: Vec<String>,
    /// How long it holds.
    pub expiration_seconds: i64,
    /// When it ends, Unix seconds.
    pub expires_at: i64,
}

/// Signs ServiceAccount tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A token that says this.
    ///
    /// # Errors
    /// What the client is to be told, when the key or an audience does not allow it.
    fn issue(&self, claims: &TokenClaims) -> Result<IssuedToken, Status>;
}
