//! `#[trace]`, the attribute macro of `tracer-registry`, which re-exports it.

mod expand;
mod function;
mod options;
mod returns;

use function::Function;
use options::Options;
use proc_macro::TokenStream;

/// Runs a function in a span.
///
/// The span belongs to the tracer of the scope in which the function is called, or to the one that an option names. It is open until the function returns, until its
/// future is done, or until its stream or iterator has no more items. The function runs exactly once and returns what it returns without the attribute,
/// whatever happens to the span.
///
/// | option | | default |
/// |---|---|---|
/// | `name = expr` | the span's name: a text, or what is `Into<Cow<'static, str>>` | the function's |
/// | `event_type = ..` | `model`, `tool` or `chain` | none |
/// | `tracer = expr` | the span's tracer: a `TracerHandle`, an `Option` or a `Result` (with a `Display` error) of one, or a reference to any of them | that of the scope |
/// | `registry = expr` | the registry to look the tracer up in: a `TracerRegistry`; with one or several of the next three | the one that `install_global` was called on |
/// | `tenant = expr`, `feature = expr`, `environment = expr` | what to look up, anything `AsRef<str>`; several are one selector of several parts | none |
/// | `session = expr` | the session that the span is in: a `Session`, an `Option` of one, or a reference. One of another tracer is ignored. If no option names a tracer, it is the session's | that of the scope |
/// | `capture = ..` | the values to capture: `inputs`, `outputs`, `both` or `none` | `none` |
/// | `skip(a, b)` | arguments that are not captured | none |
/// | `skip_all` | no argument is captured | |
/// | `redact(a, b)` | arguments of which only the name is captured, with `[redacted]` for the value | none |
/// | `fields(key = expr, ..)` | attributes; a key is a name, names with dots between, or a text. Expressions see the arguments | none |
/// | `err` | records the error of a `Result`, and not only that there was one | |
/// | `returns = ..` | `value`, `future`, `stream` or `iterator`, if the written return type does not show it | by the type |
/// | `crate = path` | the path of `tracer_registry` | `::tracer_registry` |
///
/// # Which span
/// - Outside any scope, if no option names a tracer, the function runs untraced, and `trace_counts().unrouted` counts the call.
/// - If the named tracer cannot be resolved (`None`, an error, a name that is not configured), there is no span, and the function runs outside any scope: what is traced
///   in it does not land in the caller's project. `trace_counts().failed` counts, and the log has the first such call, the second, the fourth and so on.
/// - The expressions, that of `name` first, are evaluated once for each call, before the function's body and also outside any scope. They see the arguments. A panic in them
///   is the caller's. `?`, `return` and `.await` in them are compile errors: look a tracer up before the call if that may wait. A look-up by `tenant` that finds no tracer
///   reads the key on the calling thread. An expression of `name` is moved: give it `text.clone()` if the function needs the text too.
///
/// # How long
/// - An `async fn`: from the first poll until it is done or dropped. The scope is that of the first poll, so a task takes it along by `Scope::scope`.
/// - A function whose return type is `impl Future`, `Pin<Box<dyn Future>>`, `BoxFuture` or `LocalBoxFuture`, those of `#[async_trait]` among them: the same, and where nothing is current at the
///   first poll, the scope is that of the call. The function itself runs at the call, and is not in the span; if its tracer cannot be resolved, it runs outside any scope as well.
///   Options and arguments are evaluated at the call.
/// - `impl Stream`, `BoxStream` and the like: from the first poll until the last item or the drop. `impl Iterator` and `Box<dyn Iterator>`: from the call. What is
///   done with the items is not in the span. The returned iterator also has what `DoubleEndedIterator`, `ExactSizeIterator` and `FusedIterator` ask for, and not `Clone`.
///   Asked again after the last item, and when they are dropped, they run in the scope they ran in before, after the span.
/// - For an alias, say `returns = ..`. What is not an `impl` of its trait is put into a box again: `type Later<T> = Pin<Box<dyn Future<Output = T>>>` can be traced, a
///   future type with a name cannot.
/// - Arguments are dropped in the order in which they would be without the attribute, before the span ends. What the pattern of an argument leaves out, as in `(a, _)`, is
///   dropped after all else, and after the span; an argument `_` is not concerned.
///
/// # How it ended
/// - `Err` sets the status to error, without the message; with `err` its `Display` (else `Debug`, else its type) is the message, up to 32 KiB, and an event as with
///   `ActiveSpan::record_error`. A function's own return type is known for a `Result` by a name that ends so, or by `err` or `capture = outputs`; that of a future always.
/// - A panic sets it to error, `panicked`, and goes on.
/// - A future that is dropped after its first poll ends its span, with the attribute `tracer_registry.cancelled` and no status.
///
/// # What is captured
/// Nothing by default: an argument may be a password, a key, a customer's data, and a span leaves the process. Captured values are inputs and outputs of the span (the value of an `Ok`,
/// never an error), under the names of the tracer's backend:
///
/// - by `serde::Serialize` where the type has it, else by `Debug`, else by the type's name as `<name>`. In a generic function that goes by its bounds. Bytes of
///   `serialize_bytes` are captured as their number. Neither `self` nor arguments that begin with `_` are captured;
/// - up to 128 values, 16 levels deep, 32 KiB of one text (4 KiB of what `Debug` writes), 256 KiB of texts and names of one call's inputs, and as much of its outputs. What is
///   larger is stopped there: a value of ten megabytes costs no more than what is kept. (The lists of `Debug` in the standard library go through all their items all the
///   same, and write nothing.) `tracer_registry.cut_values` counts what was left out, at the least;
/// - `<not serializable>` for a value that says so, `<panicked>` for one whose code panics. The panic is caught, after the hook for panics saw it; with `panic = "abort"` it aborts.
///
/// Values and fields are read only if the span is recorded, and in its scope. Those of functions that return futures and streams are read at the call, before there is a span,
/// and in the caller's scope, unless the tracer cannot be resolved.
///
/// # What it cannot be on
/// `const fn`, `extern fn`, functions without a body, `impl` blocks: compile errors that say so. The same for `#[track_caller]` on a function whose body has to be in a closure: one whose
/// result is looked at, one that takes `self` by value, or returns a future, a stream or an iterator.
///
/// A function that calls itself needs more of the stack for each call, some 100 bytes in a debug build, and some 200 more where its result is looked at: 10,000 calls fit a thread's
/// 2 MiB where it returns no `Result`, 5,000 where it does.
#[proc_macro_attribute]
pub fn trace(options: TokenStream, item: TokenStream) -> TokenStream {
    let untouched = proc_macro2::TokenStream::from(item.clone());
    let expanded = syn::parse::<Options>(options).and_then(|options| {
        let function = syn::parse::<Function>(item)?;
        expand::expand(&options, function)
    });
    // The function stays, so that one wrong option is not an error at each of its callers too.
    expanded
        .unwrap_or_else(|error| {
            let error = error.into_compile_error();
            quote::quote!(#error #untouched)
        })
        .into()
}
