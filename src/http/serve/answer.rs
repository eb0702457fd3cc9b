//! The body of an answer, and what its connection is doing until it is written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::connections::{Phase, Slot};
use super::{BoxError, Response};

/// A body that is written as it comes.
pub type StreamedBody = UnsyncBoxBody<Bytes, BoxError>;

/// A response whose body is written as it comes.
pub type StreamedResponse = Response<StreamedBody>;

/// Returns a response with a body of any kind as one that is written as it comes.
pub fn streamed<B>(response: Response<B>) -> StreamedResponse
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A body, until whose end its connection has not answered.
pub(super) struct AnsweringBody {
    body: StreamedBody,
    /// Absent for a body that is there as a whole: its connection may be chosen to make room once it is written.
    answering: Option<Arc<Slot>>,
}

impl AnsweringBody {
    pub(super) fn new(body: StreamedBody, slot: &Arc<Slot>) -> Self {
        let is_whole = body.size_hint().exact().is_some();
        if is_whole {
            slot.enter(Phase::Idle);
        }
        Self { body, answering: (!is_whole).then(|| Arc::clone(slot)) }
    }
}

impl Drop for AnsweringBody {
    fn drop(&mut self) {
        if let Some(slot) = self.answering.take() {
            slot.enter(Phase::Idle);
        }
    }
}

impl Body for AnsweringBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
