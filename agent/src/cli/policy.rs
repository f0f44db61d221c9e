//! `authz policy`: check, test, try out, name and pack a policy.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::event::Action;
use crate::policy::testing::{self, Outcome, TestResult};
use crate::policy::{Bundle, Engine, Evaluation, Generated, PolicyError, PolicySource, archive, region};

/// A test failed. As with `opa test`, 1 is kept for a policy that cannot be loaded.
const TESTS_FAILED: u8 = 2;

/// Work on policies without an agent.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Load a policy, and say what it reads and how far its decisions can be remembered.
    #[command(
        after_help = "Examples:\n  authz policy check ./policy\n  authz policy check preset:coding-agent --json"
    )]
    Check(CheckArgs),
    /// Run the rules named test_*, in whatever file, as `opa test` does; files named *_test.rego serve this alone.
    #[command(
        after_help = "Examples:\n  authz policy test ./policy\n  authz policy test preset:prod-readonly --verbose"
    )]
    Test(TestArgs),
    /// Decide about one operation, or about inputs from a file.
    #[command(after_help = "Examples:
  authz policy eval preset:prod-readonly --action file.write --resource /prod/config.yaml
  authz policy eval ./policy --input input.json --json
  authz policy eval ./policy --input - < inputs.jsonl")]
    Eval(EvalArgs),
    Why(super::why::Why),
    Learn(super::learn::Learn),
    /// Print the digest that names exactly this policy in every record.
    #[command(
        after_help = "Examples:\n  authz policy digest ./policy\n  authz policy digest preset:coding-agent --json"
    )]
    Digest(CheckArgs),
    /// Write the policy, the combiner, the library and the data as an OPA bundle.
    #[command(
        after_help = "Example:\n  authz policy bundle ./policy -o policy.tar.gz && opa eval -b policy.tar.gz data.authz.decision"
    )]
    Bundle(BundleArgs),
}

/// Which policy.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// A folder or file of .rego and .json, or preset:NAME (coding-agent, prod-readonly, observe-all).
    #[arg(required = true, value_name = "POLICY")]
    policy: Vec<PolicySource>,
    /// A directory the agent works in (data.authz.workspace).
    #[arg(long, value_name = "DIR")]
    workspace: Vec<String>,
    /// A directory of authz itself, which no policy can open (data.authz.protected).
    #[arg(long, value_name = "DIR")]
    protected: Vec<String>,
}

/// Which policy, and how to print.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which tests, and how to print.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print the tests that pass too.
    #[arg(long, short)]
    verbose: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to decide about.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// A file of JSON inputs, one after the other; - is the standard input.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["action", "resource"])]
    input: Option<PathBuf>,
    /// The action, such as file.write.
    #[arg(long, value_parser = parse_action, required_unless_present = "input", requires = "resource")]
    action: Option<Action>,
    /// The resource: an absolute path, an address such as tcp://192.0.2.1:443, a name.
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Print JSON, one evaluation a line.
    #[arg(long)]
    json: bool,
}

/// Where to write.
#[derive(Debug, Args)]
pub struct BundleArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand.
pub fn run(command: PolicyCommand) -> Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => check(&args),
        PolicyCommand::Test(args) => test(&args),
        PolicyCommand::Eval(args) => eval(&args),
        PolicyCommand::Why(why) => why.run(),
        PolicyCommand::Learn(learn) => learn.run(),
        PolicyCommand::Digest(args) => digest(&args),
        PolicyCommand::Bundle(args) => bundle(&args),
    }
}

impl PolicyArgs {
    fn load(&self) -> Result<Bundle, PolicyError> {
        let generated = Generated {
            protected: self.protected.clone(),
            workspace: self.workspace.clone(),
            ..Generated::default()
        };
        Bundle::load(&self.policy, &generated)
    }
}

fn check(args: &CheckArgs) -> Result<ExitCode> {
    let engine = match args.policy.load().and_then(|bundle| Engine::load(&bundle)) {
        Ok(engine) => engine,
        Err(error) if args.json => {
            println!("{}", json!({"ok": false, "errors": errors(&error)}));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let reads = engine.reads();
    let places = |field: &str| reads.places(field).into_iter().map(ToString::to_string).collect::<Vec<_>>();
    let obstacles: Vec<_> =
        region::obstacles(reads).into_iter().map(|field| (places(&field), field)).collect();
    let time: Vec<_> = reads.time_or_chance().map(ToString::to_string).collect();
    let domain = region::domain_fields(reads);
    if args.json {
        let obstacles: Vec<_> =
            obstacles.iter().map(|(places, field)| json!({"field": field, "places": places})).collect();
        let exact = engine.all_obstacles().into_iter();
        let exact: Vec<_> =
            exact.map(|(obstacle, actions)| json!({"actions": actions, "obstacle": obstacle})).collect();
        let remember =
            json!({"domain": domain, "obstacles": obstacles, "time_or_chance": time, "exact": exact});
        let report = json!({"ok": true, "digest": engine.digest(), "reads": reads.paths(), "remember": remember, "floor": engine.floor()});
        println!("{report}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("The policy is sound.");
    println!("digest      {}", engine.digest());
    println!("reads       {}", reads.paths().into_iter().collect::<Vec<_>>().join(", "));
    let per = domain.iter().map(|field| format!("{field}, ")).collect::<String>();
    println!("remembered  for each {per}action, and all resources that come out alike in its tests");
    for (obstacle, actions) in engine.all_obstacles() {
        let actions = if actions.len() == crate::event::ACTIONS.len() {
            "any action".to_owned()
        } else {
            actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (at, used_in, instead) = (&obstacle.at, &obstacle.used_in, obstacle.instead);
        println!(
            "one by one  for {actions}, since {at} uses the resource's name in {}; {instead}",
            super::show::escape(used_in)
        );
    }
    for (places, field) in obstacles {
        println!("but not     where input.{field} matters, read at {}", places.join(", "));
    }
    for place in time {
        println!("but not     what comes by the time or chance read at {place}");
    }
    println!("floor       {}", super::show::escape(&engine.floor().to_string()));
    Ok(ExitCode::SUCCESS)
}

fn errors(error: &PolicyError) -> Vec<Value> {
    let one = |at: &crate::policy::Location, message: &str| json!({"at": at, "message": message});
    match error {
        PolicyError::Lint(findings) => {
            findings.iter().map(|finding| one(&finding.at, &finding.message)).collect()
        }
        PolicyError::Syntax { at, message } | PolicyError::Data { at, message } => vec![one(at, message)],
        other => vec![json!({"at": null, "message": other.to_string()})],
    }
}

fn test(args: &TestArgs) -> Result<ExitCode> {
    let results = testing::run(&args.policy.load()?)?;
    if results.is_empty() {
        bail!("there is no rule test_*; write one, best in a file *_test.rego");
    }
    let failed = results.iter().any(|result| matches!(result.outcome, Outcome::Fail | Outcome::Error(_)));
    if args.json {
        println!("{}", serde_json::to_string(&results)?);
    } else {
        report(&results, args.verbose);
    }
    Ok(if failed { ExitCode::from(TESTS_FAILED) } else { ExitCode::SUCCESS })
}

/// As `opa test` prints: what did not pass, by file, and the sums.
fn report(results: &[TestResult], verbose: bool) {
    let mut file = "";
    let shown: Vec<_> = results.iter().filter(|result| verbose || result.outcome != Outcome::Pass).collect();
    for result in &shown {
        if result.at.file != file {
            file = &result.at.file;
            println!("{file}:");
        }
        let cost = format!("({:?})", result.cost);
        match &result.outcome {
            Outcome::Pass => println!("{}: PASS {cost}", result.name),
            Outcome::Fail => println!("{}: FAIL {cost}", result.name),
            Outcome::Skip => println!("{}: SKIPPED", result.name),
            Outcome::Error(reason) => println!("{}: ERROR {cost}\n  {reason}", result.name),
        }
    }
    if !shown.is_empty() {
        println!("{}", "-".repeat(80));
    }
    let count = |is: fn(&Outcome) -> bool| results.iter().filter(|result| is(&result.outcome)).count();
    let sums = [
        ("PASS", count(|outcome| *outcome == Outcome::Pass)),
        ("FAIL", count(|outcome| *outcome == Outcome::Fail)),
        ("ERROR", count(|outcome| matches!(outcome, Outcome::Error(_)))),
        ("SKIPPED", count(|outcome| *outcome == Outcome::Skip)),
    ];
    for (name, sum) in sums.into_iter().filter(|(_, sum)| *sum > 0) {
        println!("{name}: {sum}/{}", results.len());
    }
}

fn eval(args: &EvalArgs) -> Result<ExitCode> {
    let mut engine = Engine::load(&args.policy.load()?)?;
    for input in inputs(args)? {
        let evaluation = engine.decide_value(&input);
        if args.json {
            println!("{}", serde_json::to_string(&evaluation)?);
        } else {
            explain(&input, &evaluation);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn inputs(args: &EvalArgs) -> Result<Vec<Value>> {
    let Some(path) = &args.input else {
        let (action, id) = (args.action, args.resource.as_deref().unwrap_or_default());
        let action = action.context("name the --action")?;
        let properties = crate::policy::input::address_properties(id);
        return Ok(vec![json!({
            "subject": {"type": "agent", "id": "agent", "properties": {}},
            "action": {"name": action, "properties": {}},
            "resource": {"type": action.resource_type(), "id": id, "properties": properties},
            "context": {"layer": "kernel", "mode": "enforce"},
        })]);
    };
    let mut text = String::new();
    if path.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("Type an input as JSON and end with Ctrl-D.");
        }
        std::io::stdin().read_to_string(&mut text).context("the standard input is not text")?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot be read; name a file of JSON inputs", path.display()))?;
    }
    serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .with_context(|| format!("{}: not JSON; one input after the other is expected", path.display()))
}

fn explain(input: &Value, evaluation: &Evaluation) {
    let text = |pointer| input.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    println!("{}  {} {}", evaluation.decision.effect, text("/action/name"), text("/resource/id"));
    for rule in &evaluation.decision.rules {
        let words = [&rule.reason, &rule.advice].map(String::as_str).join(" ");
        println!("  {}  {}", rule.id, words.trim());
    }
    if !evaluation.decision.constraints.is_empty() {
        println!("  constraints  {}", Value::Object(evaluation.decision.constraints.clone()));
    }
    if let Some(rewrite) = &evaluation.decision.rewrite {
        println!("  rewrite  {rewrite}");
    }
    if let Some(cause) = &evaluation.cause {
        println!("  cause  {cause}");
    }
}

fn digest(args: &CheckArgs) -> Result<ExitCode> {
    let bundle = args.policy.load()?;
    if args.json {
        println!("{}", json!({"digest": bundle.digest(), "files": bundle.digests()}));
    } else {
        println!("{}", bundle.digest());
    }
    Ok(ExitCode::SUCCESS)
}

fn bundle(args: &BundleArgs) -> Result<ExitCode> {
    let bundle = args.policy.load()?;
    // A bundle that authz itself would refuse is not worth writing.
    Engine::load(&bundle)?;
    std::fs::write(&args.output, archive::opa_bundle(&bundle)).with_context(|| {
        format!("{}: cannot be written; name a file in a folder of yours", args.output.display())
    })?;
    if args.json {
        println!("{}", json!({"file": args.output, "digest": bundle.digest()}));
    } else {
        println!("{}  {}", bundle.digest(), args.output.display());
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn parse_action(text: &str) -> Result<Action, String> {
    Action::from_name(text).ok_or_else(|| {
        format!("there is no action {text:?}; file.read, process.exec and net.connect are some")
    })
}
