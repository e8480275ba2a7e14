//! Loads the settings: merges defaults, file, environment and command line.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
use config::{Config, Environment, File, FileFormat};

use super::{EmbeddingProvider, Settings};

const DEFAULT_FILE: &str = "colloquy.toml";

/// Settings from the command line. They override all others.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Read this file instead of `colloquy.toml`; it must exist.
    pub file: Option<PathBuf>,
    pub bind: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
}

impl Settings {
    /// Reads and checks the settings of this process.
    pub fn load(overrides: CommandLine) -> anyhow::Result<Self> {
        let readable =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::load_from(overrides, readable.collect())
    }

    /// Like [`Settings::load`], with the environment as a parameter.
    pub fn load_from(overrides: CommandLine, environment: HashMap<String, String>) -> anyhow::Result<Self> {
        let mut settings = read(overrides.file, &environment)?;
        if let Some(url) = environment.get("DATABASE_URL").filter(|url| !url.is_empty()) {
            settings.database.url.get_or_insert_with(|| url.clone());
        }
        let embeddings = &mut settings.search.embeddings;
        if embeddings.provider == EmbeddingProvider::Onnx
            && let Some(library) = environment.get("ORT_DYLIB_PATH").filter(|path| !path.is_empty())
        {
            embeddings.runtime.get_or_insert_with(|| library.into());
        }
        if let Some(bind) = overrides.bind {
            settings.server.bind = bind;
        }
        if let Some(data_dir) = overrides.data_dir {
            settings.database.data_dir = data_dir;
        }
        settings.fill_defaults();
        settings.check()?;
        Ok(settings)
    }
}

fn read(file: Option<PathBuf>, environment: &HashMap<String, String>) -> anyhow::Result<Settings> {
    let name = file.as_ref().map_or_else(|| DEFAULT_FILE.to_owned(), |path| path.display().to_string());
    let source = match file {
        Some(path) => {
            if !path.is_file() {
                bail!(
                    "there is no settings file {name}; give --config the path of a TOML file \
                     (colloquy.example.toml shows every setting)"
                );
            }
            File::from(path).format(FileFormat::Toml)
        }
        None => File::new(DEFAULT_FILE, FileFormat::Toml).required(false),
    };
    let merged = Config::builder()
        .add_source(source)
        .add_source(variables(environment))
        .build()
        .with_context(|| format!("{name} cannot be read; it has to be TOML, as in colloquy.example.toml"))?;
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let key = error.path().to_string();
        let variable = format!("COLLOQUY_{}", key.to_uppercase().replace('.', "__"));
        let is_scalar = key.contains('.') && !key.contains('[');
        let places = if is_scalar { format!("{name} or as {variable}") } else { name };
        let mut reason = error.into_inner().to_string();
        if reason.contains("duration") {
            reason.push_str("; write it as \"250ms\", \"30s\" or \"5m\"");
        }
        if reason.contains("socket address") {
            reason.push_str("; write host and port, such as \"127.0.0.1:7777\"");
        }
        anyhow::anyhow!(
            "the setting `{key}` is refused: {reason}; set it in {places} (colloquy.example.toml shows every setting)"
        )
    })
}

/// `COLLOQUY_SERVER__BIND` sets `server.bind`. Names without a double underscore are ignored: Kubernetes sets
/// `COLLOQUY_PORT` and similar variables in every pod beside a service called colloquy.
fn variables(environment: &HashMap<String, String>) -> Environment {
    let ours = environment
        .iter()
        .filter(|(name, _)| name.starts_with("COLLOQUY_") && name.contains("__"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Environment::with_prefix("COLLOQUY")
        .prefix_separator("_")
        .separator("__")
        .ignore_empty(true)
        .try_parsing(true)
        .list_separator(",")
        .with_list_parse_key("server.cors_origins")
        .with_list_parse_key("server.allowed_hosts")
        .source(Some(ours))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let overrides = CommandLine { file: Some(file.path().into()), ..CommandLine::default() };
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::load_from(overrides, environment)
    }

    fn refusal(toml: &str) -> String {
        format!("{:#}", load(toml, &[]).expect_err("the settings should be refused"))
    }

    #[test]
    fn without_a_file_there_is_one_agent() {
        let settings = load("", &[]).unwrap();
        assert_eq!(settings.agents.len(), 1);
        assert_eq!(settings.agents[0].id, "assistant");
        assert!(settings.agents[0].add_history_to_context);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
        let toml = "[server]\nbind = \"127.0.0.1:1\"\n[database]\nmax_connections = 3";
        let settings = load(toml, &[("COLLOQUY_SERVER__BIND", "127.0.0.1:2"), ("COLLOQUY_PORT", "tcp://1:2")]).unwrap();
        assert_eq!(settings.server.bind.port(), 2);
        assert_eq!(settings.database.max_connections, 3);
        let overrides = CommandLine { bind: Some("127.0.0.1:9".parse().unwrap()), ..CommandLine::default() };
        let environment = HashMap::from([("COLLOQUY_SERVER__BIND".to_owned(), "127.0.0.1:2".to_owned())]);
        assert_eq!(Settings::load_from(overrides, environment).unwrap().server.bind.port(), 9);
    }

    #[test]
    fn database_url_is_used_where_the_settings_name_none() {
        let environment = [("DATABASE_URL", "postgres://from-environment/x")];
        assert_eq!(load("", &environment).unwrap().database.url.as_deref(), Some("postgres://from-environment/x"));
        let toml = "[database]\nurl = \"postgres://from-file/x\"";
        assert_eq!(load(toml, &environment).unwrap().database.url.as_deref(), Some("postgres://from-file/x"));
    }

    #[test]
    fn lists_and_durations_come_from_the_environment_too() {
        let environment = [
            ("COLLOQUY_SERVER__CORS_ORIGINS", "http://a.example,http://b.example"),
            ("COLLOQUY_SERVER__ALLOWED_HOSTS", "colloquy"),
            ("COLLOQUY_SERVER__SHUTDOWN_GRACE", "250ms"),
        ];
        let server = load("", &environment).unwrap().server;
        assert_eq!(server.cors_origins, ["http://a.example", "http://b.example"]);
        assert_eq!(server.allowed_hosts, ["colloquy"]);
        assert_eq!(server.shutdown_grace.as_millis(), 250);
    }

    #[test]
    fn a_refusal_names_the_key_and_the_remedy() {
        for (toml, expected) in [
            ("[server]\nbnid = 1", "unknown field `bnid`"),
            ("[server]\nbind = \"somewhere\"", "`server.bind`"),
            ("[[agents]]\nid = \"a\"\nnum_history_runs = \"many\"", "num_history_runs"),
            ("[models.fast]\nprovider = \"openia\"\nid = \"x\"", "openia"),
        ] {
            let message = refusal(toml);
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("colloquy.example.toml"), "{message}");
        }
    }

    #[test]
    fn a_missing_settings_file_is_named() {
        let overrides = CommandLine { file: Some("no/such.toml".into()), ..CommandLine::default() };
        let message = Settings::load_from(overrides, HashMap::new()).unwrap_err().to_string();
        assert!(message.contains("no/such.toml"), "{message}");
    }
}
