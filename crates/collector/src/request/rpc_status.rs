//! `google.rpc.Status`: the body of OTLP error responses, and the details of gRPC errors.

use prost::Message as _;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

impl RpcStatus {
    pub(super) fn new(code: i32, message: &str) -> Self {
        Self {
            code,
            message: message.to_owned(),
            details: Vec::new(),
        }
    }

    /// Returns a status with `RetryInfo`.
    pub(super) fn retry_after(code: i32, message: &str, seconds: i64) -> Self {
        let info = RetryInfo {
            retry_delay: Some(Delay { seconds }),
        };
        let info = Any {
            type_url: RETRY_INFO.to_owned(),
            value: info.encode_to_vec(),
        };
        Self {
            details: vec![info],
            ..Self::new(code, message)
        }
    }
}
