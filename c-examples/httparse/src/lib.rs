//! The `httparse` crate for C: one function, whose declaration is in `c-examples/http/http.h`.

use httparse::{Error, Request, Status};
use std::ffi::c_int;
use std::mem::MaybeUninit;

/// How many fields a request may have.
pub const FIELDS: usize = 64;

/// Some bytes of the request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    at: *const u8,
    len: usize,
}

/// A field of a request's head: neither has white space around it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Field {
    name: Slice,
    value: Slice,
}

/// A request's head. Of the fields the first `count` are set.
#[repr(C)]
pub struct Head {
    method: Slice,
    target: Slice,
    minor: c_int,
    count: c_int,
    fields: [Field; FIELDS],
}

fn slice(bytes: &[u8]) -> Slice {
    Slice { at: bytes.as_ptr(), len: bytes.len() }
}

/// Parses a head. Returns its length, with the empty line; 0 if there is more to come; -1: it is none;
/// -2: too many fields; -3: of another version.
///
/// # Safety
/// `bytes` has `len` readable bytes; `out` is a `Head`, and nobody else uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn http_parse(bytes: *const u8, len: usize, out: *mut Head) -> isize {
    // SAFETY: the caller vouches for the bytes, which are not changed during the call.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
    // SAFETY: the caller vouches for `out`. All of it are integers and pointers, good with any contents.
    let out = unsafe { &mut *out };
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return 0,
        Err(Error::TooManyHeaders) => return -2,
        Err(Error::Version) => return -3,
        Err(_) => return -1,
    };
    out.method = slice(request.method.unwrap_or_default().as_bytes());
    out.target = slice(request.path.unwrap_or_default().as_bytes());
    out.minor = c_int::from(request.version.unwrap_or_default());
    out.count = request.headers.len() as c_int;
    for (to, from) in out.fields.iter_mut().zip(&*request.headers) {
        *to = Field { name: slice(from.name.as_bytes()), value: slice(from.value) };
    }
    len as isize
}
