//! Expands a function into its traced form.
//!
//! All names are either the user's or hygienic (`mixed_site`), and all paths begin at the crate. So
//! the expansion depends on no name in the user's module. The user's body stays one block with its
//! own spans, so compiler errors point into it.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Error, Expr, Ident, LitStr, Path, ReceiverKind, Result, parse_quote};

use crate::function::Function;
use crate::options::Options;
use crate::returns::{Kind, Returns};

/// Input of an expansion.
struct Expansion<'a> {
    options: &'a Options,
    function: &'a Function,
    returns: Returns,
    /// Statements that rebind the arguments.
    rebound: Vec<TokenStream>,
    /// Path of the runtime module.
    private: TokenStream,
}

/// Returns the traced function.
pub(crate) fn expand(options: &Options, mut function: Function) -> Result<TokenStream> {
    function.check()?;
    let is_async = function.0.sig.asyncness.is_some();
    if let (true, Some((_, span))) = (is_async, options.returns) {
        return Err(Error::new(span, "`returns` cannot be used on an `async fn`"));
    }
    let kind = if is_async {
        Some(Kind::Value)
    } else {
        options.returns.map(|(kind, _)| kind)
    };
    let rebound = function.rebind();
    let expansion = Expansion {
        rebound,
        options,
        returns: Returns::of(&function.0.sig.output, kind),
        private: private(options.krate.as_ref()),
        function: &function,
    };
    expansion.check()?;
    let body = if is_async {
        expansion.expand_async()
    } else {
        match expansion.returns.kind {
            Kind::Value => expansion.expand_value(),
            Kind::Future => expansion.expand_deferred("future", "plan", "pin", Some(expansion.outcome())),
            Kind::Stream => expansion.expand_deferred("stream", "plan", "pin", None),
            Kind::Iterator => expansion.expand_deferred("iterator", "begin", "new", None),
        }
    };
    *function.0.block = parse_quote!({ #body });
    let function = function.0;
    Ok(quote!(#function))
}

fn private(krate: Option<&Path>) -> TokenStream {
    if let Some(krate) = krate {
        quote!(#krate::__private)
    } else {
        quote_spanned!(Span::mixed_site()=> ::tracer_registry::__private)
    }
}

/// Returns the location for type errors of an expression.
fn at(expression: &Expr) -> Span {
    Span::mixed_site().located_at(expression.span())
}

impl Expansion<'_> {
    fn check(&self) -> Result<()> {
        let arguments = self.function.arguments();
        for name in self.options.skip.iter().chain(&self.options.redact) {
            if !arguments.contains(name) {
                return Err(Error::new(name.span(), format!("no argument named `{name}`")));
            }
        }
        if let (Some(attribute), false) = (self.function.track_caller(), self.runs_in_place()) {
            return Err(Error::new_spanned(
                attribute,
                "`#[track_caller]` is not supported here: the traced body runs in a closure",
            ));
        }
        let has_items = matches!(self.returns.kind, Kind::Stream | Kind::Iterator);
        let has_no_value = self.returns.is_unit() || self.returns.is_never();
        for (is_wrong, option, message) in [
            (
                has_items,
                self.options.captures_outputs,
                "capturing outputs is not supported for streams and iterators",
            ),
            (
                has_items,
                self.options.err,
                "`err` is not supported for streams and iterators",
            ),
            (
                has_no_value,
                self.options.err,
                "`err` requires a function that returns a `Result`",
            ),
        ] {
            if let (true, Some(span)) = (is_wrong, option) {
                return Err(Error::new(span, message));
            }
        }
        Ok(())
    }

    /// Returns whether the function's result is recorded when it returns.
    fn has_outcome(&self) -> bool {
        let is_recorded =
            self.returns.is_result || self.options.err.is_some() || self.options.captures_outputs.is_some();
        is_recorded && !self.returns.is_unit() && !self.returns.is_never()
    }

    /// Returns whether the function takes `self` by value, which cannot be rebound.
    fn owns_self(&self) -> bool {
        self.function
            .receiver()
            .is_some_and(|receiver| !matches!(receiver.kind, ReceiverKind::Reference(..)))
    }

    /// Returns whether the body stays outside a closure, which saves a stack frame in debug builds.
    fn runs_in_place(&self) -> bool {
        let is_async = self.function.0.sig.asyncness.is_some();
        is_async || (self.returns.kind == Kind::Value && !self.has_outcome() && !self.owns_self())
    }

    /// Returns the user's body with rebound arguments.
    ///
    /// A variable holds the result, so temporaries of the last expression drop before the
    /// arguments. Suppresses the lint for unreachable code after a body that never returns.
    fn body(&self) -> TokenStream {
        let (body, returned, rebound) = (&self.function.0.block, &self.returns.named, &self.rebound);
        let site = Span::mixed_site();
        let mention = self.function.mention_self();
        // An option or a capture may be the only user of an argument.
        let quiet = self
            .options
            .may_use_arguments()
            .then(|| quote_spanned!(site=> #[allow(unused_variables)]));
        let arguments = quote_spanned!(site=> #mention #(#quiet #rebound)*);
        if self.returns.is_never() {
            return quote_spanned!(site=> #arguments #body;);
        }
        quote_spanned!(site=> #arguments let _returned: #returned = #body; #[allow(unreachable_code)] _returned)
    }

    /// Expands a function whose span ends when it returns.
    fn expand_value(&self) -> TokenStream {
        let (private, body, returned) = (&self.private, self.body(), &self.returns.named);
        let (span, begin) = self.begin("enter");
        if self.runs_in_place() {
            return quote_spanned!(Span::mixed_site()=> #begin #body);
        }
        if !self.has_outcome() {
            return quote_spanned!(Span::mixed_site()=> #begin #private::once(move || -> #returned { #body }));
        }
        let outcome = self.outcome();
        quote_spanned!(Span::mixed_site()=>
            #begin
            let returned = #private::once(move || -> #returned { #body });
            #private::CallSpan::outcome(&#span, |recorder| #private::record(&returned, recorder, #outcome));
            returned
        )
    }

    fn expand_async(&self) -> TokenStream {
        let (private, body, returned) = (&self.private, self.body(), &self.returns.named);
        let (span, begin) = self.begin("begin");
        let outcome = self.outcome();
        let site = Span::mixed_site();
        if self.returns.is_never() {
            return quote_spanned!(site=>
                #begin
                let work = async move {
                    if false {
                        return #private::never::<#private::Infallible>();
                    }
                    #body
                };
                match #private::run(#span, work, #outcome).await {}
            );
        }
        // An `async` block cannot declare its return type, which `?` and result conversions need.
        let annotation = if self.returns.is_unit() {
            quote_spanned!(site=> return)
        } else {
            quote_spanned!(site=> return #private::never::<#returned>())
        };
        quote_spanned!(site=>
            #begin
            #private::run(#span, async move { if false { #annotation; } #body }, #outcome).await
        )
    }

    /// Expands a function whose span ends with the returned future, stream or iterator. `wrap` is
    /// the runtime function that traces it, `boxed` the function that boxes it again.
    fn expand_deferred(&self, wrap: &str, begin: &str, boxed: &str, outcome: Option<TokenStream>) -> TokenStream {
        let site = Span::mixed_site();
        let (private, body) = (&self.private, self.body());
        let (returned, output) = (&self.returns.named, &self.returns.output);
        let (span, begin) = self.begin(begin);
        let (wrap, boxed) = (Ident::new(wrap, site), Ident::new(boxed, site));
        let (inferred, outcome) = outcome
            .map(|outcome| (quote_spanned!(site=> , _), quote_spanned!(site=> , #outcome)))
            .unzip();
        let traced = quote_spanned!(site=>
            #private::#wrap::<#output, _ #inferred>(#span, move || -> #returned { #body } #outcome)
        );
        if self.returns.is_boxed {
            quote_spanned!(site=> #begin #private::Boxed::#boxed(#traced))
        } else {
            quote_spanned!(site=> #begin #traced)
        }
    }

    /// Returns the variable of the call's span, and statements that create it and capture arguments
    /// and fields.
    fn begin(&self, how: &str) -> (Ident, TokenStream) {
        let site = Span::mixed_site();
        let (private, call) = (&self.private, self.call());
        let (begin, span) = (Ident::new(how, site), Ident::new("span", site));
        let (inputs, fields) = (self.inputs(), self.fields());
        let inputs = (!inputs.is_empty())
            .then(|| quote_spanned!(site=> #private::CallSpan::inputs(&mut #span, |capture| { #(#inputs)* });));
        let fields = (!fields.is_empty())
            .then(|| quote_spanned!(site=> #private::CallSpan::fields(&mut #span, |capture| { #(#fields)* });));
        let mutable = (inputs.is_some() || fields.is_some()).then(|| quote_spanned!(site=> mut));
        let statements = quote_spanned!(site=> let #mutable #span = #private::#begin(|| #call); #inputs #fields);
        (span, statements)
    }

    /// Returns an expression for the call as the options describe it.
    fn call(&self) -> TokenStream {
        let site = Span::mixed_site();
        let (private, options) = (&self.private, self.options);
        let begin = if let Some(name) = &options.name {
            quote_spanned!(at(name)=> #private::Call::new(#name))
        } else {
            let ident = self.function.0.sig.ident.unraw();
            let name = LitStr::new(&ident.to_string(), ident.span());
            quote_spanned!(site=> #private::Call::new(#name))
        };
        let event_type = options.event_type.as_ref();
        let event_type = event_type.map(|kind| quote_spanned!(site=> .event_type(#private::EventType::#kind)));
        let tracer = options
            .tracer
            .as_ref()
            .map(|tracer| quote_spanned!(at(tracer)=> .tracer(&(#tracer))));
        let session = options
            .session
            .as_ref()
            .map(|session| quote_spanned!(at(session)=> .session(&(#session))));
        let names = [&options.environment, &options.feature, &options.tenant].map(Option::as_ref);
        let look_up = names.iter().any(Option::is_some).then(|| {
            let registry = self.optional(options.registry.as_ref(), "registry");
            let names = names.map(|name| self.optional(name, "text"));
            quote_spanned!(site=> .look_up(#registry, #(#names),*))
        });
        quote_spanned!(site=> #begin #event_type #tracer #look_up #session)
    }

    /// Passes an expression, if present, to a function of the runtime.
    fn optional(&self, expression: Option<&Expr>, convert: &str) -> TokenStream {
        let private = &self.private;
        if let Some(expression) = expression {
            let convert = Ident::new(convert, Span::mixed_site());
            quote_spanned!(at(expression)=> #private::Named::Some(#private::#convert(&(#expression))))
        } else {
            quote_spanned!(Span::mixed_site()=> #private::Named::None)
        }
    }

    /// Returns a statement for each captured argument.
    fn inputs(&self) -> Vec<TokenStream> {
        if !self.options.captures_inputs || self.options.skip_all {
            return Vec::new();
        }
        let arguments = self.function.arguments().into_iter();
        let captured = arguments.filter(|name| !name.to_string().starts_with('_') && !self.options.skip.contains(name));
        captured
            .map(|name| {
                let key = LitStr::new(&name.unraw().to_string(), Span::mixed_site());
                if self.options.redact.contains(&name) {
                    return quote_spanned!(Span::mixed_site()=> capture.redacted(#key););
                }
                let value = Ident::new("value", Span::mixed_site());
                let record = self.record(&value, &quote_spanned!(Span::mixed_site()=> capture), &key);
                quote_spanned!(Span::mixed_site()=> { let #value = &#name; #record })
            })
            .collect()
    }

    /// Returns a statement for each attribute.
    fn fields(&self) -> Vec<TokenStream> {
        let fields = self.options.fields.iter();
        fields
            .map(|field| {
                let (key, expression) = (&field.key, &field.value);
                let value = Ident::new("value", Span::mixed_site());
                let record = self.record(&value, &quote_spanned!(Span::mixed_site()=> capture), key);
                quote_spanned!(Span::mixed_site()=> { let #value = &(#expression); #record })
            })
            .collect()
    }

    /// Returns a statement that captures a referenced value by the best trait of its type.
    fn record(&self, value: &Ident, to: &TokenStream, key: &LitStr) -> TokenStream {
        let private = &self.private;
        quote_spanned!(Span::mixed_site()=> {
            use #private::by::*;
            (&&&#private::Value(#value)).tracer_registry_record(#to, #key);
        })
    }

    /// Returns a closure that records the outcome of the call.
    fn outcome(&self) -> TokenStream {
        let site = Span::mixed_site();
        let private = &self.private;
        let value = Ident::new("value", site);
        let outputs = self
            .options
            .captures_outputs
            .filter(|_| !self.returns.is_unit())
            .map(|_| {
                let key = LitStr::new("result", site);
                self.record(&value, &quote_spanned!(site=> &mut recorder.outputs), &key)
            });
        let on_ok = if let Some(outputs) = outputs {
            quote_spanned!(site=> #private::Ended::Ok(#value) => #outputs)
        } else {
            quote_spanned!(site=> #private::Ended::Ok(_) => {})
        };
        let on_err = if self.options.err.is_some() {
            quote_spanned!(site=> #private::Ended::Err(error) => (&&&#private::Failure(error)).tracer_registry_record(recorder))
        } else {
            quote_spanned!(site=> #private::Ended::Err(_) => recorder.failed())
        };
        quote_spanned!(site=> |returned, recorder| {
            use #private::by::*;
            match (&&#private::Outcome(returned)).tracer_registry_split() {
                #on_ok,
                #on_err,
            }
        })
    }
}
