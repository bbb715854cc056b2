//! From a parsed tree to a typed expression, or to what is wrong with it.

use cel::IdedExpr;
use cel::common::ast::{self, LiteralValue, SourceInfo, operators};

use super::MAX_DEPTH;
use super::expression::{Comparison, Expr, Function, Operation, Root};
use super::types::Type;
use crate::nearest::did_you_mean;

/// Nodes of one condition.
const MAX_NODES: usize = 400;
/// `all` and `exists` within one another: each multiplies the cost.
const MAX_QUANTIFIERS: usize = 2;
/// Bytes of a pattern of `matches`.
const MAX_PATTERN: usize = 256;

/// Checks a parsed condition.
pub(super) fn check(tree: &IdedExpr, positions: &SourceInfo) -> Result<Expr, String> {
    let mut checker = Checker { positions, locals: Vec::new(), nodes: 0 };
    let (expr, found) = checker.expr(tree, 0)?;
    if found != Type::Bool {
        let more = if found == Type::Dyn { "; compare it, such as with `== true`" } else { "; write a comparison" };
        return Err(format!("is {found}, and a condition must be a bool{more}"));
    }
    Ok(expr)
}

struct Checker<'a> {
    positions: &'a SourceInfo,
    /// Variables of the `all` and `exists` around, outermost first.
    locals: Vec<(String, Type)>,
    nodes: usize,
}

type Typed = (Expr, Type);

impl Checker<'_> {
    fn expr(&mut self, tree: &IdedExpr, depth: usize) -> Result<Typed, String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("is over budget: more than {MAX_NODES} parts; divide the rule"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("is over budget: nests deeper than {MAX_DEPTH}; divide the rule"));
        }
        let at = tree.id;
        let depth = depth + 1;
        match &tree.expr {
            ast::Expr::Literal(literal) => self.literal(at, literal),
            ast::Expr::Ident(name) => self.identifier(at, name),
            ast::Expr::Select(select) => self.select(at, select, depth),
            ast::Expr::List(list) => self.list(list, depth),
            ast::Expr::Call(call) => self.call(at, call, depth),
            ast::Expr::Comprehension(comprehension) => self.quantifier(at, comprehension, depth),
            ast::Expr::Map(_) | ast::Expr::Struct(_) => Err(self.wrong(at, "maps and messages cannot be made here")),
            ast::Expr::Unspecified => Err(self.wrong(at, "something is missing")),
        }
    }

    fn literal(&self, at: u64, literal: &LiteralValue) -> Result<Typed, String> {
        Ok(match literal {
            LiteralValue::Null => (Expr::Null, Type::Null),
            LiteralValue::Boolean(value) => (Expr::Bool(*value.inner()), Type::Bool),
            LiteralValue::Int(value) => (Expr::Int(*value.inner()), Type::Int),
            LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
                Ok(value) => (Expr::Int(value), Type::Int),
                Err(_) => return Err(self.wrong(at, "the number is too large")),
            },
            LiteralValue::Double(value) => (Expr::Double(*value.inner()), Type::Double),
            LiteralValue::String(value) => (Expr::Text(value.inner().to_owned()), Type::Text),
            LiteralValue::Bytes(_) => return Err(self.wrong(at, "bytes are not known here; write a string")),
        })
    }

    fn identifier(&self, at: u64, name: &str) -> Result<Typed, String> {
        if let Some(index) = self.locals.iter().rposition(|(local, _)| local == name) {
            let found = self.locals.get(index).map_or(Type::Dyn, |(_, found)| found.clone());
            return Ok((Expr::Local(index), found));
        }
        match Root::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, root)) => Ok((Expr::Root(*root), (*root).into())),
            None => {
                let known: Vec<&str> = Root::ALL.iter().map(|(known, _)| *known).collect();
                Err(self.unknown(at, "variable", name, &known))
            }
        }
    }

    fn select(&mut self, at: u64, select: &ast::SelectExpr, depth: usize) -> Result<Typed, String> {
        let (operand, found) = self.expr(&select.operand, depth)?;
        let field = match &found {
            Type::Record(kind) => match kind.field(&select.field) {
                Some(field) => field,
                None => {
                    let known: Vec<&str> = kind.fields().iter().map(|(name, _)| *name).collect();
                    return Err(self.unknown(at, "field", &select.field, &known));
                }
            },
            Type::Labels => Type::Text,
            Type::Dyn => Type::Dyn,
            other => return Err(self.wrong(at, &format!("{other} has no field `{}`", select.field))),
        };
        let operand = Box::new(operand);
        if select.test {
            return Ok((Expr::Has(operand, select.field.clone()), Type::Bool));
        }
        Ok((Expr::Field(operand, select.field.clone()), field))
    }

    fn list(&mut self, list: &ast::ListExpr, depth: usize) -> Result<Typed, String> {
        let mut items = Vec::new();
        let mut common: Option<Type> = None;
        for item in &list.elements {
            let (expr, found) = self.expr(item, depth)?;
            common = Some(match common {
                None => found,
                Some(common) if common == found => common,
                Some(common) if common.comparable(&found) => Type::Dyn,
                Some(common) => {
                    return Err(self.wrong(item.id, &format!("a list holds {common} and {found}; write one kind")));
                }
            });
            items.push(expr);
        }
        Ok((Expr::List(items), Type::List(Box::new(common.unwrap_or(Type::Dyn)))))
    }

    fn call(&mut self, at: u64, call: &ast::CallExpr, depth: usize) -> Result<Typed, String> {
        let mut parts: Vec<Typed> = Vec::new();
        if let Some(target) = &call.target {
            parts.push(self.expr(target, depth)?);
        }
        for argument in &call.args {
            parts.push(self.expr(argument, depth)?);
        }
        let name = call.func_name.as_str();
        if call.target.is_some() {
            return self.function(at, name, parts, true);
        }
        match name {
            operators::LOGICAL_AND => Ok((Expr::And(self.bools(at, "&&", parts)?), Type::Bool)),
            operators::LOGICAL_OR => Ok((Expr::Or(self.bools(at, "||", parts)?), Type::Bool)),
            operators::LOGICAL_NOT => {
                let mut parts = self.bools(at, "!", parts)?;
                let operand = parts.pop().ok_or_else(|| self.wrong(at, "`!` needs a value"))?;
                Ok((Expr::Not(Box::new(operand)), Type::Bool))
            }
            operators::NEGATE => {
                let [(operand, found)] = self.exactly(at, "-", parts)?;
                match found {
                    Type::Int | Type::Double | Type::Dyn => Ok((Expr::Negate(Box::new(operand)), found)),
                    other => Err(self.wrong(at, &format!("`-` of {other}"))),
                }
            }
            operators::CONDITIONAL => self.conditional(at, parts),
            operators::INDEX => self.index(at, parts),
            operators::IN => self.membership(at, parts),
            operators::EQUALS => self.comparison(at, Comparison::Equal, parts),
            operators::NOT_EQUALS => self.comparison(at, Comparison::NotEqual, parts),
            operators::LESS => self.comparison(at, Comparison::Less, parts),
            operators::LESS_EQUALS => self.comparison(at, Comparison::LessOrEqual, parts),
            operators::GREATER => self.comparison(at, Comparison::Greater, parts),
            operators::GREATER_EQUALS => self.comparison(at, Comparison::GreaterOrEqual, parts),
            operators::ADD => self.arithmetic(at, Operation::Add, parts),
            operators::SUBSTRACT => self.arithmetic(at, Operation::Subtract, parts),
            operators::MULTIPLY => self.arithmetic(at, Operation::Multiply, parts),
            operators::DIVIDE => self.arithmetic(at, Operation::Divide, parts),
            operators::MODULO => self.arithmetic(at, Operation::Remainder, parts),
            name => self.function(at, name, parts, false),
        }
    }

    fn bools(&self, at: u64, operator: &str, parts: Vec<Typed>) -> Result<Vec<Expr>, String> {
        parts
            .into_iter()
            .map(|(expr, found)| {
                if found.fits(&Type::Bool) {
                    Ok(expr)
                } else {
                    Err(self.wrong(at, &format!("`{operator}` needs bools, and finds {found}")))
                }
            })
            .collect()
    }

    fn conditional(&self, at: u64, parts: Vec<Typed>) -> Result<Typed, String> {
        let [(condition, kind), (yes, yes_type), (no, no_type)] = self.exactly(at, "?:", parts)?;
        if !kind.fits(&Type::Bool) {
            return Err(self.wrong(at, &format!("`?:` needs a bool before `?`, and finds {kind}")));
        }
        let found = if yes_type == no_type {
            yes_type
        } else if yes_type.comparable(&no_type) {
            Type::Dyn
        } else {
            return Err(self.wrong(at, &format!("`?:` gives {yes_type} or {no_type}; write one kind")));
        };
        Ok((Expr::If(Box::new(condition), Box::new(yes), Box::new(no)), found))
    }

    fn index(&self, at: u64, parts: Vec<Typed>) -> Result<Typed, String> {
        let [(operand, found), (key, key_type)] = self.exactly(at, "[]", parts)?;
        let item = match &found {
            Type::List(item) if key_type.fits(&Type::Int) => (**item).clone(),
            Type::Labels if key_type.fits(&Type::Text) => Type::Text,
            Type::Dyn if matches!(key_type, Type::Int | Type::Text | Type::Dyn) => Type::Dyn,
            other => return Err(self.wrong(at, &format!("{other} cannot be indexed by {key_type}"))),
        };
        Ok((Expr::Index(Box::new(operand), Box::new(key)), item))
    }

    fn membership(&self, at: u64, parts: Vec<Typed>) -> Result<Typed, String> {
        let [(item, item_type), (range, range_type)] = self.exactly(at, "in", parts)?;
        let fine = match &range_type {
            Type::List(of) => item_type.comparable(of),
            Type::Labels => item_type.fits(&Type::Text),
            Type::Dyn => !matches!(item_type, Type::Record(_)),
            _ => false,
        };
        if !fine {
            return Err(self.wrong(at, &format!("`in` looks for {item_type} in {range_type}")));
        }
        Ok((Expr::In(Box::new(item), Box::new(range)), Type::Bool))
    }

    fn comparison(&self, at: u64, comparison: Comparison, parts: Vec<Typed>) -> Result<Typed, String> {
        let [(a, a_type), (b, b_type)] = self.exactly(at, "comparison", parts)?;
        let fine = match comparison {
            Comparison::Equal | Comparison::NotEqual => a_type.comparable(&b_type),
            _ => a_type.ordered(&b_type),
        };
        if !fine {
            return Err(self.wrong(at, &format!("{a_type} is compared with {b_type}")));
        }
        Ok((Expr::Compare(comparison, Box::new(a), Box::new(b)), Type::Bool))
    }

    fn arithmetic(&self, at: u64, operation: Operation, parts: Vec<Typed>) -> Result<Typed, String> {
        use Operation::{Add, Subtract};
        let [(a, a_type), (b, b_type)] = self.exactly(at, "arithmetic", parts)?;
        let found = match (operation, &a_type, &b_type) {
            (Add, Type::Text, Type::Text) => Type::Text,
            (Subtract, Type::Time, Type::Time) => Type::Span,
            (Add | Subtract, Type::Time, Type::Span) => Type::Time,
            (Add | Subtract, Type::Span, Type::Span) => Type::Span,
            (Operation::Remainder, Type::Double, _) | (Operation::Remainder, _, Type::Double) => {
                return Err(self.wrong(at, "`%` needs ints"));
            }
            (_, Type::Int, Type::Int) => Type::Int,
            (_, Type::Double, Type::Double) => Type::Double,
            (_, Type::Dyn, Type::Dyn | Type::Int | Type::Double) | (_, Type::Int | Type::Double, Type::Dyn) => {
                Type::Dyn
            }
            _ => return Err(self.wrong(at, &format!("no arithmetic of {a_type} and {b_type}"))),
        };
        Ok((Expr::Arithmetic(operation, Box::new(a), Box::new(b)), found))
    }

    fn function(&self, at: u64, name: &str, parts: Vec<Typed>, method: bool) -> Result<Typed, String> {
        if name == "matches" && method {
            return self.matches(at, parts);
        }
        let Some((_, function)) = Function::ALL.iter().find(|(known, _)| *known == name) else {
            let mut known: Vec<&str> = Function::ALL.iter().map(|(known, _)| *known).collect();
            known.extend(["matches", "all", "exists", "has"]);
            return Err(self.unknown(at, "function", name, &known));
        };
        let signature = |wanted: &[Type]| {
            parts.len() == wanted.len() && parts.iter().zip(wanted).all(|((_, found), wanted)| found.fits(wanted))
        };
        let (fine, result, usage) = match function {
            Function::Size => {
                let sized = |(_, found): &Typed| matches!(found, Type::Text | Type::List(_) | Type::Labels | Type::Dyn);
                (parts.len() == 1 && parts.iter().all(sized), Type::Int, "size(a string, list or map)")
            }
            Function::StartsWith | Function::EndsWith | Function::Contains => (
                method && signature(&[Type::Text, Type::Text]),
                Type::Bool,
                "STRING.startsWith(STRING), endsWith, contains",
            ),
            Function::LowerAscii => (method && signature(&[Type::Text]), Type::Text, "STRING.lowerAscii()"),
            Function::Timestamp => {
                (!method && signature(&[Type::Text]), Type::Time, "timestamp(\"2026-01-31T08:00:00Z\")")
            }
            Function::Duration => (!method && signature(&[Type::Text]), Type::Span, "duration(\"1h30m\")"),
            Function::FullYear
            | Function::Month
            | Function::Date
            | Function::DayOfWeek
            | Function::Hours
            | Function::Minutes => (
                method && parts.len() == 1 && parts.iter().all(|(_, found)| *found == Type::Time),
                Type::Int,
                "TIMESTAMP.getHours() without arguments, in UTC",
            ),
        };
        if !fine {
            return Err(self.wrong(at, &format!("`{name}` is used otherwise: {usage}")));
        }
        // What is constant is checked now, not at the first request.
        if let (Function::Timestamp | Function::Duration, [(Expr::Text(text), _)]) = (function, parts.as_slice()) {
            let wrong = match function {
                Function::Timestamp => text
                    .parse::<jiff::Timestamp>()
                    .err()
                    .map(|_| format!("`{text}` is no timestamp; write such as 2026-01-31T08:00:00Z")),
                _ => crate::units::duration(text).err(),
            };
            if let Some(wrong) = wrong {
                return Err(self.wrong(at, &wrong));
            }
        }
        Ok((Expr::Call(*function, parts.into_iter().map(|(expr, _)| expr).collect()), result))
    }

    fn matches(&self, at: u64, parts: Vec<Typed>) -> Result<Typed, String> {
        let [(text, found), (pattern, _)] = self.exactly(at, "matches", parts)?;
        let Expr::Text(pattern) = pattern else {
            return Err(self.wrong(at, "`matches` needs its pattern written out as a string"));
        };
        if !found.fits(&Type::Text) {
            return Err(self.wrong(at, &format!("`matches` needs a string, and finds {found}")));
        }
        if pattern.len() > MAX_PATTERN {
            return Err(
                self.wrong(at, &format!("the pattern has {} bytes; write at most {MAX_PATTERN}", pattern.len()))
            );
        }
        // The engine runs in time linear in the text, whatever the pattern;
        // its size is bounded here.
        let regex = regex_lite::RegexBuilder::new(&pattern)
            .size_limit(64 << 10)
            .nest_limit(16)
            .build()
            .map_err(|error| self.wrong(at, &format!("the pattern `{pattern}` is none: {error}")))?;
        Ok((Expr::Matches(Box::new(text), regex), Type::Bool))
    }

    /// `all` and `exists`, which the parser has spelled out as loops.
    fn quantifier(&mut self, at: u64, loops: &ast::ComprehensionExpr, depth: usize) -> Result<Typed, String> {
        let every = match (&loops.accu_init.expr, &loops.loop_step.expr) {
            (ast::Expr::Literal(LiteralValue::Boolean(start)), ast::Expr::Call(step)) if loops.iter_var2.is_none() => {
                match (*start.inner(), step.func_name.as_str(), step.args.as_slice()) {
                    (true, operators::LOGICAL_AND, [_, body]) => Some((true, body)),
                    (false, operators::LOGICAL_OR, [_, body]) => Some((false, body)),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some((every, body)) = every else {
            return Err(self.wrong(at, "of the macros, `has`, `all` and `exists` are known"));
        };
        if self.locals.len() >= MAX_QUANTIFIERS {
            let message =
                format!("over budget: `all` and `exists` nest deeper than {MAX_QUANTIFIERS}; divide the rule");
            return Err(self.wrong(at, &message));
        }
        let (range, range_type) = self.expr(&loops.iter_range, depth)?;
        let item = match range_type {
            Type::List(item) => *item,
            Type::Labels => Type::Text,
            Type::Dyn => Type::Dyn,
            other => return Err(self.wrong(at, &format!("{other} is no list"))),
        };
        self.locals.push((loops.iter_var.clone(), item));
        let body = self.expr(body, depth);
        self.locals.pop();
        let (body, found) = body?;
        if !found.fits(&Type::Bool) {
            return Err(self.wrong(at, &format!("`all` and `exists` need a bool, and find {found}")));
        }
        Ok((Expr::Every(every, Box::new(range), Box::new(body)), Type::Bool))
    }

    fn exactly<const N: usize>(&self, at: u64, name: &str, parts: Vec<Typed>) -> Result<[Typed; N], String> {
        let found = parts.len();
        parts.try_into().map_err(|_| self.wrong(at, &format!("`{name}` needs {N} values, and finds {found}")))
    }

    fn unknown(&self, at: u64, what: &str, name: &str, known: &[&str]) -> String {
        let near = did_you_mean(name, known.iter().copied());
        let near = if near.is_empty() { ";".to_owned() } else { near };
        self.wrong(at, &format!("the {what} `{name}` is unknown{near} Known here: {}", known.join(", ")))
    }

    fn wrong(&self, at: u64, message: &str) -> String {
        match self.positions.offset_for(at) {
            Some((start, _)) => format!("column {}: {message}", start + 1),
            None => message.to_owned(),
        }
    }
}
