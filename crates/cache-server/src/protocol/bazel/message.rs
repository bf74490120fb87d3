//! Messages of the Remote Execution API, version 2 (`build.bazel.remote.execution.v2`), as far as a cache reads them, in
//! protobuf and in the JSON form of proto3.
//!
//! What is stored are the bytes that were sent, so a field that is not here is lost only in JSON.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::json::{is_default, list, or_default};
use super::time::{Duration, Timestamp};

/// Names a content: the digits of its SHA-256, and its length in bytes.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Digest {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) hash: String,
    #[prost(int64, tag = "2")]
    #[serde(alias = "size_bytes", with = "super::json::long", skip_serializing_if = "is_default")]
    pub(super) size_bytes: i64,
}

/// What an action did.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ActionResult {
    #[prost(message, repeated, tag = "2")]
    #[serde(alias = "output_files", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(super) output_files: Vec<OutputFile>,
    #[prost(message, repeated, tag = "10")]
    #[serde(
        alias = "output_file_symlinks",
        deserialize_with = "list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) output_file_symlinks: Vec<OutputSymlink>,
    #[prost(message, repeated, tag = "12")]
    #[serde(alias = "output_symlinks", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(super) output_symlinks: Vec<OutputSymlink>,
    #[prost(message, repeated, tag = "3")]
    #[serde(alias = "output_directories", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(super) output_directories: Vec<OutputDirectory>,
    #[prost(message, repeated, tag = "11")]
    #[serde(
        alias = "output_directory_symlinks",
        deserialize_with = "list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(super) output_directory_symlinks: Vec<OutputSymlink>,
    #[prost(int32, tag = "4")]
    #[serde(alias = "exit_code", with = "super::json::int", skip_serializing_if = "is_default")]
    pub(super) exit_code: i32,
    #[prost(bytes = "bytes", tag = "5")]
    #[serde(alias = "stdout_raw", with = "super::json::base64", skip_serializing_if = "is_default")]
    pub(super) stdout_raw: Bytes,
    #[prost(message, optional, tag = "6")]
    #[serde(alias = "stdout_digest", skip_serializing_if = "is_default")]
    pub(super) stdout_digest: Option<Digest>,
    #[prost(bytes = "bytes", tag = "7")]
    #[serde(alias = "stderr_raw", with = "super::json::base64", skip_serializing_if = "is_default")]
    pub(super) stderr_raw: Bytes,
    #[prost(message, optional, tag = "8")]
    #[serde(alias = "stderr_digest", skip_serializing_if = "is_default")]
    pub(super) stderr_digest: Option<Digest>,
    #[prost(message, optional, tag = "9")]
    #[serde(alias = "execution_metadata", skip_serializing_if = "is_default")]
    pub(super) execution_metadata: Option<ExecutedActionMetadata>,
}

/// A file that an action made.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OutputFile {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) path: String,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) digest: Option<Digest>,
    #[prost(bool, tag = "4")]
    #[serde(alias = "is_executable", deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) is_executable: bool,
    #[prost(bytes = "bytes", tag = "5")]
    #[serde(with = "super::json::base64", skip_serializing_if = "is_default")]
    pub(super) contents: Bytes,
    #[prost(message, optional, tag = "7")]
    #[serde(alias = "node_properties", skip_serializing_if = "is_default")]
    pub(super) node_properties: Option<NodeProperties>,
}

/// A directory that an action made: all of it in one `Tree`, or its root `Directory`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OutputDirectory {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) path: String,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "tree_digest", skip_serializing_if = "is_default")]
    pub(super) tree_digest: Option<Digest>,
    #[prost(bool, tag = "4")]
    #[serde(
        alias = "is_topologically_sorted",
        deserialize_with = "or_default",
        skip_serializing_if = "is_default"
    )]
    pub(super) is_topologically_sorted: bool,
    #[prost(message, optional, tag = "5")]
    #[serde(alias = "root_directory_digest", skip_serializing_if = "is_default")]
    pub(super) root_directory_digest: Option<Digest>,
}

/// A symbolic link that an action made.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OutputSymlink {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) path: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) target: String,
    #[prost(message, optional, tag = "4")]
    #[serde(alias = "node_properties", skip_serializing_if = "is_default")]
    pub(super) node_properties: Option<NodeProperties>,
}

/// What else is known of a file: the two properties that have fields of their own.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeProperties {
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) mtime: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "unix_mode", with = "super::json::wrapped", skip_serializing_if = "is_default")]
    pub(super) unix_mode: Option<UInt32Value>,
}

/// `google.protobuf.UInt32Value`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct UInt32Value {
    #[prost(uint32, tag = "1")]
    pub(super) value: u32,
}

/// Who ran an action, and when. JSON has no `auxiliary_metadata`: its types are unknown here.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ExecutedActionMetadata {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub(super) worker: String,
    #[prost(message, optional, tag = "2")]
    #[serde(alias = "queued_timestamp", skip_serializing_if = "is_default")]
    pub(super) queued_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    #[serde(alias = "worker_start_timestamp", skip_serializing_if = "is_default")]
    pub(super) worker_start_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    #[serde(alias = "worker_completed_timestamp", skip_serializing_if = "is_default")]
    pub(super) worker_completed_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "5")]
    #[serde(alias = "input_fetch_start_timestamp", skip_serializing_if = "is_default")]
    pub(super) input_fetch_start_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    #[serde(alias = "input_fetch_completed_timestamp", skip_serializing_if = "is_default")]
    pub(super) input_fetch_completed_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    #[serde(alias = "execution_start_timestamp", skip_serializing_if = "is_default")]
    pub(super) execution_start_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    #[serde(alias = "execution_completed_timestamp", skip_serializing_if = "is_default")]
    pub(super) execution_completed_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "9")]
    #[serde(alias = "output_upload_start_timestamp", skip_serializing_if = "is_default")]
    pub(super) output_upload_start_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "10")]
    #[serde(alias = "output_upload_completed_timestamp", skip_serializing_if = "is_default")]
    pub(super) output_upload_completed_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "12")]
    #[serde(alias = "virtual_execution_duration", skip_serializing_if = "is_default")]
    pub(super) virtual_execution_duration: Option<Duration>,
}
