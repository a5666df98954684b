//! The function with its span in it.
//!
//! All names are either the user's or hygienic (`mixed_site`), and all paths begin at the crate, so nothing depends on names in the user's
//! module. The user's body stays one block with its own spans, so that errors of the compiler point there.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Error, Expr, Ident, LitStr, Path, ReceiverKind, Result, parse_quote};

use crate::function::Function;
use crate::options::Options;
use crate::returns::{Kind, Returns};

/// The parts of an expansion.
struct Expansion<'a> {
    options: &'a Options,
    function: &'a Function,
    returns: Returns,
    /// Statements that rebind the arguments.
    rebound: Vec<TokenStream>,
    /// The path of the runtime.
    private: TokenStream,
}

/// The function with its span.
pub(crate) fn expand(options: &Options, mut function: Function) -> Result<TokenStream> {
    function.check()?;
    let is_async = function.0.sig.asyncness.is_some();
    if let (true, Some((_, span))) = (is_async, options.returns) {
        return Err(Error::new(
            span,
            "what an `async fn` returns is known: leave `returns` out",
        ));
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
        expansion.of_async()
    } else {
        match expansion.returns.kind {
            Kind::Value => expansion.of_value(),
            Kind::Future => expansion.of_later("future", "plan", "pin", Some(expansion.outcome())),
            Kind::Stream => expansion.of_later("stream", "plan", "pin", None),
            Kind::Iterator => expansion.of_later("iterator", "begin", "new", None),
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

/// The span at which the compiler reports that an expression has a wrong type.
fn at(expression: &Expr) -> Span {
    Span::mixed_site().located_at(expression.span())
}

impl Expansion<'_> {
    fn check(&self) -> Result<()> {
        let arguments = self.function.arguments();
        for name in self.options.skip.iter().chain(&self.options.redact) {
            if !arguments.contains(name) {
                return Err(Error::new(name.span(), format!("there is no argument `{name}`")));
            }
        }
        if let (Some(attribute), false) = (self.function.track_caller(), self.runs_in_place()) {
            return Err(Error::new_spanned(
                attribute,
                "`#[track_caller]` does not reach the body of this function, which is traced in a closure: leave one of them out",
            ));
        }
        let has_items = matches!(self.returns.kind, Kind::Stream | Kind::Iterator);
        let has_no_value = self.returns.is_unit() || self.returns.is_never();
        for (is_wrong, option, message) in [
            (
                has_items,
                self.options.captures_outputs,
                "the items of a stream or an iterator are not captured",
            ),
            (
                has_items,
                self.options.err,
                "the items of a stream or an iterator are not looked at for errors",
            ),
            (has_no_value, self.options.err, "the function returns no `Result`"),
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

    /// Returns whether the function drops `self`, which cannot be rebound.
    fn owns_self(&self) -> bool {
        self.function
            .receiver()
            .is_some_and(|receiver| !matches!(receiver.kind, ReceiverKind::Reference(..)))
    }

    /// Returns whether the body stays in the function itself. In a debug build, a closure needs a frame of its own.
    fn runs_in_place(&self) -> bool {
        let is_async = self.function.0.sig.asyncness.is_some();
        is_async || (self.returns.kind == Kind::Value && !self.has_outcome() && !self.owns_self())
    }

    /// The user's body, with rebound arguments. Its result goes into a variable, so that temporaries of its last expression are dropped before the
    /// arguments. If the body never returns, the unreachable code is not the user's.
    fn body(&self) -> TokenStream {
        let (body, returned, rebound) = (&self.function.0.block, &self.returns.named, &self.rebound);
        let site = Span::mixed_site();
        let mention = self.function.mention_self();
        // An argument may be used by an option or a capture alone.
        let quiet = self
            .options
            .see_arguments()
            .then(|| quote_spanned!(site=> #[allow(unused_variables)]));
        let arguments = quote_spanned!(site=> #mention #(#quiet #rebound)*);
        if self.returns.is_never() {
            return quote_spanned!(site=> #arguments #body;);
        }
        quote_spanned!(site=> #arguments let _returned: #returned = #body; #[allow(unreachable_code)] _returned)
    }

    /// Until the function returns.
    fn of_value(&self) -> TokenStream {
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
            #private::Life::outcome(&#span, |recorder| #private::record(&returned, recorder, #outcome));
            returned
        )
    }

    fn of_async(&self) -> TokenStream {
        let (private, body, returned) = (&self.private, self.body(), &self.returns.named);
        let (life, begin) = self.begin("begin");
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
                match #private::run(#life, work, #outcome).await {}
            );
        }
        // An `async` block has no place for its return type, which `?` and conversions of the result need.
        let annotation = if self.returns.is_unit() {
            quote_spanned!(site=> return)
        } else {
            quote_spanned!(site=> return #private::never::<#returned>())
        };
        quote_spanned!(site=>
            #begin
            #private::run(#life, async move { if false { #annotation; } #body }, #outcome).await
        )
    }

    /// Until what the function returns is done: `wrap` makes it the traced one, `boxed` puts it into a box again.
    fn of_later(&self, wrap: &str, begin: &str, boxed: &str, outcome: Option<TokenStream>) -> TokenStream {
        let site = Span::mixed_site();
        let (private, body) = (&self.private, self.body());
        let (returned, gives) = (&self.returns.named, &self.returns.gives);
        let (life, begin) = self.begin(begin);
        let (wrap, boxed) = (Ident::new(wrap, site), Ident::new(boxed, site));
        let (inferred, outcome) = outcome
            .map(|outcome| (quote_spanned!(site=> , _), quote_spanned!(site=> , #outcome)))
            .unzip();
        let traced = quote_spanned!(site=>
            #private::#wrap::<#gives, _ #inferred>(#life, move || -> #returned { #body } #outcome)
        );
        if self.returns.is_boxed {
            quote_spanned!(site=> #begin #private::Boxed::#boxed(#traced))
        } else {
            quote_spanned!(site=> #begin #traced)
        }
    }

    /// Begins the call, and captures its arguments and fields. Returns the variable of the call, and the statements.
    fn begin(&self, how: &str) -> (Ident, TokenStream) {
        let site = Span::mixed_site();
        let (private, call) = (&self.private, self.call());
        let (begin, life) = (Ident::new(how, site), Ident::new("life", site));
        let (inputs, fields) = (self.inputs(), self.fields());
        let inputs = (!inputs.is_empty())
            .then(|| quote_spanned!(site=> #private::Life::inputs(&mut #life, |capture| { #(#inputs)* });));
        let fields = (!fields.is_empty())
            .then(|| quote_spanned!(site=> #private::Life::fields(&mut #life, |capture| { #(#fields)* });));
        let mutable = (inputs.is_some() || fields.is_some()).then(|| quote_spanned!(site=> mut));
        let statements = quote_spanned!(site=> let #mutable #life = #private::#begin(|| #call); #inputs #fields);
        (life, statements)
    }

    /// The call as the options describe it.
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

    /// Passes an expression to a function of the runtime, if there is one.
    fn optional(&self, expression: Option<&Expr>, made_by: &str) -> TokenStream {
        let private = &self.private;
        if let Some(expression) = expression {
            let made_by = Ident::new(made_by, Span::mixed_site());
            quote_spanned!(at(expression)=> #private::Named::Some(#private::#made_by(&(#expression))))
        } else {
            quote_spanned!(Span::mixed_site()=> #private::Named::None)
        }
    }

    /// A statement for each argument that is captured.
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

    /// A statement for each attribute.
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

    /// Captures a value, which is a reference, by the best trait of its type.
    fn record(&self, value: &Ident, to: &TokenStream, key: &LitStr) -> TokenStream {
        let private = &self.private;
        quote_spanned!(Span::mixed_site()=> {
            use #private::by::*;
            (&&&#private::Value(#value)).tracer_registry_record(#to, #key);
        })
    }

    /// A closure that records the outcome of the call.
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
        let good = if let Some(outputs) = outputs {
            quote_spanned!(site=> #private::Ended::Ok(#value) => #outputs)
        } else {
            quote_spanned!(site=> #private::Ended::Ok(_) => {})
        };
        let bad = if self.options.err.is_some() {
            quote_spanned!(site=> #private::Ended::Err(error) => (&&&#private::Failure(error)).tracer_registry_record(recorder))
        } else {
            quote_spanned!(site=> #private::Ended::Err(_) => recorder.failed())
        };
        quote_spanned!(site=> |returned, recorder| {
            use #private::by::*;
            match (&&#private::Outcome(returned)).tracer_registry_split() {
                #good,
                #bad,
            }
        })
    }
}
