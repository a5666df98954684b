//! The attribute macro `#[trace]`, re-exported by `tracer-registry`.

mod expand;
mod function;
mod options;
mod returns;

use function::Function;
use options::Options;
use proc_macro::TokenStream;

/// Runs a function in a span.
///
/// The span belongs to the tracer of the current scope, or to the tracer that an option names. It
/// is open until the function returns, its future completes, or its stream or iterator ends. The
/// function runs exactly once and returns the same value as without the attribute. A failure of
/// tracing never fails the call.
///
/// | option | meaning | default |
/// |---|---|---|
/// | `name = expr` | name of the span: a text, or any `Into<Cow<'static, str>>` | name of the function |
/// | `event_type = ..` | `model`, `tool` or `chain` | none |
/// | `tracer = expr` | tracer of the span: a `TracerHandle`, an `Option` or a `Result` (with a `Display` error) of one, or a reference to any of them | tracer of the scope |
/// | `registry = expr` | `TracerRegistry` that looks the tracer up; requires one of the next three | registry of the last `install_global` |
/// | `tenant = expr` | tenant to look up, any `AsRef<str>`; combines with `feature` and `environment` into one selector | none |
/// | `feature = expr` | feature to look up, likewise | none |
/// | `environment = expr` | environment to look up, likewise | none |
/// | `session = expr` | session of the span: a `Session`, an `Option` of one, or a reference. If no other option names a tracer, the span uses the tracer of the session. Ignored if it belongs to another tracer | session of the scope |
/// | `capture = ..` | values to capture: `inputs`, `outputs`, `both` or `none` | `none` |
/// | `skip(a, b)` | arguments to leave out | none |
/// | `skip_all` | leaves out all arguments | off |
/// | `redact(a, b)` | arguments to capture by name only, with the value `[redacted]` | none |
/// | `fields(key = expr, ..)` | attributes. A key is a name, names joined by dots, or a text. Expressions see the arguments | none |
/// | `err` | records the error of a `Result`, not only that it failed | off |
/// | `returns = ..` | `value`, `future`, `stream` or `iterator`, if the return type does not show it | by the return type |
/// | `crate = path` | path of the crate `tracer_registry` | `::tracer_registry` |
///
/// # Tracer
/// - Outside any scope, a function that names no tracer runs untraced. `trace_counts().unrouted`
///   counts the call.
/// - If the named tracer cannot be resolved (`None`, an error, an unknown name), the function runs
///   without a span and outside any scope, so its callees do not trace into the caller's project.
///   `trace_counts().failed` counts the call. The log reports failures 1, 2, 4, 8 and so on.
/// - Each call evaluates the option expressions once, before the function body, and `name` before
///   the others. This also happens if the function then runs untraced. They see the arguments. A
///   panic in them reaches the caller. `?`, `return` and `.await` in them are compile errors.
/// - A look-up by `tenant`, `feature` or `environment` blocks the thread if it must create the
///   tracer. In async code, call `tenant_async` or `get_async` first and pass the result as
///   `tracer`.
/// - The value of `name` is moved: write `text.clone()` if the function needs the text too.
///
/// # Lifetime of the span
/// - `async fn`: from the first poll until the future completes or is dropped. The span starts in
///   the scope of the first poll, so wrap a spawned task in `Scope::scope`.
/// - `fn` that returns `impl Future`, `Pin<Box<dyn Future>>`, `BoxFuture` or `LocalBoxFuture`,
///   including `#[async_trait]`: as for `async fn`. If no scope or span is current at the first
///   poll, it starts in the scope of the call. Options, arguments and the body of the `fn` are
///   evaluated at the call, outside the span. If the tracer cannot be resolved, the body runs
///   outside any scope.
/// - `impl Stream`, `BoxStream` and the like: from the first poll until the last item or the drop.
/// - `impl Iterator` and `Box<dyn Iterator>`: from the call until the last item or the drop. The
///   returned iterator implements `DoubleEndedIterator`, `ExactSizeIterator` and `FusedIterator` if
///   the inner one does, but never `Clone`.
/// - The span of a stream or iterator is not current in the code that consumes its items. After the
///   last item, further polls and the drop still run in its scope, but outside the span.
/// - A type alias needs `returns = ..` and must name a boxed trait object, as in `type Later<T> =
///   Pin<Box<dyn Future<Output = T>>>`, because the macro returns its own future in a new box. A
///   named future type does not work.
/// - Arguments drop before the span ends, in the same order as without the attribute. Parts that an
///   argument pattern ignores, as in `(a, _)`, drop last, after the span. An argument `_` drops in
///   order.
///
/// # Outcome
/// - `Err` sets the status to error without a message. With `err` the message is the error's
///   `Display`, else its `Debug`, else its type, up to 32 KiB; the span also gets the event of
///   `ActiveSpan::record_error`. The output of a future is always checked for `Err`. Another return
///   value is checked if the name of its type ends in `Result`, or with `err` or `capture =
///   outputs`.
/// - A panic sets the status to error with the message `panicked`, and continues to the caller.
/// - A future that is dropped after its first poll ends its span with the attribute
///   `tracer_registry.cancelled` and no status.
///
/// # Captured values
/// The default captures nothing: an argument may be a password, a key or customer data, and a span
/// leaves the process. Captured values become inputs and outputs of the span, under the attribute
/// names of the tracer's backend. An output is the value of an `Ok`, never an error.
///
/// - A value is captured by `serde::Serialize`, else by `Debug`, else as its type name, `<name>`.
///   For a generic type, only the bounds in the signature count: with `T: Debug`, a value is
///   captured by `Debug` even if it implements `Serialize`. Bytes (`serialize_bytes`) are captured
///   as their length. `self` and arguments that begin with `_` are never captured.
/// - Limits: 128 values, 16 levels, 32 KiB for one text (4 KiB for one `Debug` text), and 256 KiB
///   of texts and names for the inputs of a call and again for its outputs. Serialization stops at
///   the limit, so the cost does not grow with the value. (The standard library's `Debug` of a list
///   still visits all items, and writes nothing.) The attribute `tracer_registry.cut_values` counts
///   values that were left out, at least.
/// - A value is replaced by `<not serializable>` if its `Serialize` or `Debug` fails, and by
///   `<panicked>` if that panics. The panic hook runs first; with `panic = "abort"` the process
///   aborts.
///
/// Values and fields are read with the span current, and only if the span is recorded. Exception: a
/// plain `fn` that returns a future or stream reads them at the call, before the span exists, in
/// the caller's scope. It reads none if the tracer cannot be resolved.
///
/// # Compile errors
/// `const fn`, `extern fn`, functions without a body and `impl` blocks are rejected. So is
/// `#[track_caller]` on a function whose body runs in a closure: one whose result is checked or
/// captured, that takes `self` by value, or that returns a future, a stream or an iterator.
///
/// # Recursion
/// Each call uses about 100 more bytes of stack in a debug build, and about 300 if the result is
/// checked. In 2 MiB, 10,000 nested calls fit without a `Result` and 5,000 with one.
#[proc_macro_attribute]
pub fn trace(options: TokenStream, item: TokenStream) -> TokenStream {
    let original = proc_macro2::TokenStream::from(item.clone());
    let expanded = syn::parse::<Options>(options).and_then(|options| {
        let function = syn::parse::<Function>(item)?;
        expand::expand(&options, function)
    });
    // Keeps the function, so a wrong option causes no further errors at its callers.
    expanded
        .unwrap_or_else(|error| {
            let error = error.into_compile_error();
            quote::quote!(#error #original)
        })
        .into()
}
