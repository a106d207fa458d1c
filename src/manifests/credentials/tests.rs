use serde_json::{Value, json};

use super::*;

/// The names of the withheld values of a container, and the container without them.
fn withheld(container: &Value) -> (Vec<String>, Value) {
    let mut container = container.clone();
    container["name"] = json!("db");
    let mut set = json!({"kind": "StatefulSet", "spec": {"template": {"spec": {"containers": [container]}}}});
    let found = withhold(&mut set);
    let found = found.into_iter().map(|what| what.strip_suffix(" of container db").unwrap().to_owned()).collect();
    (found, set["spec"]["template"]["spec"]["containers"][0].clone())
}

/// Every secret in these examples is called so.
#[track_caller]
fn hides(container: &Value) -> Vec<String> {
    assert!(container.to_string().contains("geheim"), "an example without a secret: {container}");
    let (found, left) = withheld(container);
    assert!(!found.is_empty() && !left.to_string().contains("geheim"), "{container} leaves {left}");
    assert!(!found.concat().contains("geheim"), "{found:?}");
    found
}

#[track_caller]
fn keeps(container: &Value) {
    let (found, left) = withheld(container);
    let mut whole = container.clone();
    whole["name"] = json!("db");
    assert_eq!((found, left), (Vec::new(), whole));
}

/// A list of words in each place in which one may stand.
fn places(words: &Value) -> Vec<Value> {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    let probes = probes.map(|probe| json!({probe: {"exec": {"command": words}}}));
    let hooks = ["postStart", "preStop"].map(|hook| json!({"lifecycle": {hook: {"exec": {"command": words}}}}));
    let own =
        [json!({"command": words}), json!({"args": words}), json!({"command": ["/entrypoint.sh"], "args": words})];
    probes.into_iter().chain(hooks).chain(own).collect()
}

#[test]
fn values_that_hold_a_secret_are_withheld() {
    for (name, value) in [
        ("POSTGRES_PASSWORD", "geheim"),
        ("MYSQL_PASSWD", "geheim"),
        ("PGPASS", "geheim"),
        ("API_KEY", "geheim"),
        ("apiKey", "geheim"),
        ("AWS_SECRET_ACCESS_KEY", "geheim"),
        ("AWS_SECRET_ACCESS_KEY", "/wJal/geheim"),
        ("REDISCLI_AUTH", "geheim"),
        ("DB_PWD", "geheim"),
        ("DB_PW", "geheim"),
        ("POSTGRES_PASSWORD", "$geheim"),
        ("POSTGRES_PASSWORD", "pre$(X)geheim"),
        ("POSTGRES_PASSWORD", "/geheim"),
        ("RABBITMQ_ERLANG_COOKIE", "geheim"),
        ("DATABASE_URL", "postgres://app:geheim@db:5432/app"),
        ("DATABASE_URL", "postgres://app:$geheim@db:5432/app"),
        ("DATABASE_URL", "postgres://app:a/geheim@db:5432/app"),
        ("DATABASE_URL", "postgres://app:a?geheim@db:5432/app"),
        ("DATABASE_URL", "postgres://app:a#geheim@db:5432/app"),
        ("DATABASE_URL", "postgres://app:a@geheim@db:5432/app"),
        ("REDIS_URL", "redis://:geheim@redis:6379/0"),
        ("MONGO_URI", "mongodb+srv://app:geheim@a.example,b.example/app?w=majority"),
        ("AMQP", "amqps://app:geheim@mq"),
        ("HTTPS_PROXY", "http://u:geheim@proxy:3128"),
        ("REPO", "https://geheim@github.com/org/repo"),
        ("REPO", "https://oauth2:geheim@gitlab.example/org/repo.git"),
        ("URL", "jdbc:postgresql://db/x?user=u&password=geheim"),
        ("URL", "jdbc:mysql://app:geheim@db/x"),
        ("URL", "jdbc:sqlserver://db:1433;databaseName=x;user=sa;password=geheim;encrypt=true"),
        ("URL", "jdbc:oracle:thin:scott/geheim@db:1521:orcl"),
        ("URL", "jdbc:oracle:oci:scott/geheim@//db:1521/orcl"),
        ("DATA_SOURCE_NAME", "root:geheim@(localhost:3306)/"),
        ("DSN", "app:geheim@tcp(db:3306)/app?parseTime=true"),
        ("DSN", "app:geheim@unix(/run/mysqld.sock)/app"),
        ("DSN", "app:geheim@db:5432/app"),
        ("DSN", "host=db password=geheim"),
        ("DSN", "host=db password='geheim' sslmode=disable"),
        ("DSN", "host=db password = geheim"),
        ("CONNECTION", "Server=db;User Id=sa;Password=geheim"),
        ("CONNECTION", "server=db;uid=sa;pwd=geheim;"),
        (
            "AZURE_STORAGE_CONNECTION_STRING",
            "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=geheim==;EndpointSuffix=x",
        ),
        ("BUS", "Endpoint=sb://x/;SharedAccessKeyName=root;SharedAccessKey=geheim="),
        ("STORE", "https://x.blob.core.windows.net/c?sv=2024-01-01&sig=geheim"),
        ("FUNCTION", "https://x.azurewebsites.net/api/f?code=geheim"),
        ("CALLBACK", "https://x.example/hook?token=geheim"),
        ("MAPS", "https://x.example/v1?key=geheim"),
        ("NOTIFY", "https://hooks.slack.com/services/T0/B0/geheim"),
        ("NOTIFY", "https://discord.com/api/webhooks/1234/geheim"),
        ("NOTIFY", "https://x.webhook.office.com/webhookb2/geheim"),
        ("NOTIFY", "https://api.telegram.org/bot1234:geheim/sendMessage"),
        ("JAVA_OPTS", "-Xmx1g -Djavax.net.ssl.keyStorePassword=geheim"),
        ("JAVA_OPTS", "-Dspring.datasource.password=geheim -Dx=y"),
        ("SPRING_APPLICATION_JSON", "{\"spring\": {\"datasource\": {\"password\": \"geheim\"}}}"),
        ("CONFIG", "{\\\"password\\\": \\\"geheim\\\"}"),
        ("CONFIG", "db:\n  user: app\n  password: geheim\n"),
        ("CONFIG", "db: {user: app, password: geheim}"),
        (
            "JAAS",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"geheim\";",
        ),
        ("HEADERS", "Authorization: Bearer geheim"),
        ("HEADERS", "authorization=Basic geheim"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=geheim"),
        ("CURL_ARGS", "-H 'X-Vault-Token: geheim'"),
        ("WITH_DEFAULT", "x ${DB_PASSWORD:-geheim}"),
        ("SQL", "ALTER USER app PASSWORD 'geheim'"),
        ("SQL", "CREATE USER app IDENTIFIED BY 'geheim'"),
        ("SQL", "CREATE USER app IDENTIFIED WITH mysql_native_password BY 'geheim'"),
        ("SQL", "SET PASSWORD = PASSWORD('geheim')"),
        ("SQL", "CREATE LOGIN app WITH PASSWORD = N'geheim'"),
        ("CERT", "-----BEGIN RSA PRIVATE KEY-----\ngeheim\n-----END RSA PRIVATE KEY-----"),
        ("TEXT", "ghp_0123456789abcdefgeheim"),
        ("TEXT", "glpat-0123456789-geheim"),
        ("TEXT", "xoxb-0123456789-geheim"),
        ("TEXT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.geheim"),
        ("TEXT", "SCRAM-SHA-256$4096:geheim"),
        ("HEALTH", "mysqladmin ping -h localhost -u root -pgeheim"),
        ("HEALTH", "redis-cli -h 127.0.0.1 -a geheim ping"),
        ("XML", "<users><default><password>geheim</password></default></users>"),
    ] {
        assert_eq!(hides(&json!({"env": [{"name": name, "value": value}]})), [name], "{value}");
    }
}

#[test]
fn values_that_hold_none_are_recorded() {
    for (name, value) in [
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/pg"),
        ("MARIADB_RANDOM_ROOT_PASSWORD", "yes"),
        ("ALLOW_EMPTY_PASSWORD", "yes"),
        ("POSTGRES_HOST_AUTH_METHOD", "trust"),
        ("POSTGRES_INITDB_ARGS", "--auth-host=scram-sha-256 --auth-local=trust --auth=md5 --data-checksums"),
        ("CASSANDRA_KEYSPACE", "app"),
        ("CASSANDRA_NUM_TOKENS", "256"),
        ("DATABASE_URL", "postgres://app:$(DB_PASSWORD)@db:5432/app"),
        ("DATABASE_URL", "postgres://app:${DB_PASSWORD}@db:5432/app"),
        ("DATABASE_URL", "postgres://app@db:5432/app?sslmode=require"),
        ("DATABASE_URL", "postgres://db:5432/app?application_name=a@b"),
        ("DATABASE_URL", "postgres://[::1]:5432/app?application_name=a@b"),
        ("DATA_SOURCE_NAME", "root:$(DB_PASSWORD)@(localhost:3306)/"),
        ("DATA_SOURCE_NAME", "root:@(localhost:3306)/"),
        ("DSN", "host=db user=app password=$(DB_PASSWORD) sslmode=require"),
        ("URL", "jdbc:postgresql://db:5432/x?user=u&ssl=true&sslmode=verify-full"),
        ("URL", "jdbc:postgresql://db:5432/x?user=u@realm"),
        ("URL", "jdbc:oracle:thin:@db:1521:orcl"),
        ("URL", "jdbc:oracle:thin:@//db:1521/orcl"),
        ("URL", "jdbc:oracle:thin:@db:1521/orcl"),
        ("CONNECTION", "Server=db;Integrated Security=true;Encrypt=true"),
        ("PASSWORD", "$(OTHER)"),
        ("PASSWORD", ""),
        ("PASSWORD", "vault:secret/data/db#password"),
        ("POSTGRES_USER", "app"),
        ("PGDATA", "/var/lib/postgresql/data"),
        ("PWD", "/app"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/var/secrets/google/key.json"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("TLS_KEY", "/etc/tls/tls.key"),
        ("SSH_PUBLIC_KEY", "ssh-ed25519 AAAA user@host"),
        ("TOKEN_URL", "https://idp.example/oauth2/token"),
        ("TOKEN_TTL", "3600"),
        ("IMAGE", "registry:5000/pg:15@sha256:0123456789abcdef"),
        ("MAIL_FROM", "ops@example.com"),
        ("REPO", "git@github.com:org/repo.git"),
        ("REPO", "ssh://git@github.com/org/repo.git"),
        ("RABBITMQ_NODENAME", "rabbit@host"),
        ("ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
        ("JAVA_OPTS", "-Xmx1g -Dcom.sun.management.jmxremote.authenticate=false -Djavax.net.ssl.keyStore=/x/k.jks"),
        (
            "MYSQL_ARGS",
            "--key-buffer-size=32M --foreign-key-checks=0 --default-authentication-plugin=mysql_native_password",
        ),
        ("SQL", "CREATE USER app IDENTIFIED VIA unix_socket"),
        ("SQL", "SELECT * FROM t WHERE key = 'x'"),
        ("NOTE", "the password is set by the operator"),
        ("LISTENERS", "SASL_PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("AUTHORIZATION", "enabled"),
        ("PATTERN", "%m [%p]: user=%u,db=%d"),
        ("GREETING", "hello, world; it costs $5 & more"),
    ] {
        keeps(&json!({"env": [{"name": name, "value": value}]}));
    }
    let reference = json!({"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "p"}}});
    keeps(&json!({"env": [reference], "envFrom": [{"secretRef": {"name": "pg"}}]}));
}

#[test]
fn commands_that_hold_a_secret_are_withheld_in_every_place() {
    for (words, what) in [
        (json!(["--requirepass", "geheim"]), "--requirepass"),
        (json!(["redis-server", "--requirepass", "$geheim"]), "--requirepass"),
        (json!(["redis-server", "--masterauth", "/geheim"]), "--masterauth"),
        (json!(["--user", "app", "on", ">geheim", "~*"]), "a user's password"),
        (json!(["--password=geheim"]), "--password"),
        (json!(["--password", "geheim"]), "--password"),
        (json!(["-password", "geheim"]), "-password"),
        (json!(["--token=geheim"]), "--token"),
        (json!(["-c", "PGPASSWORD=geheim psql"]), "PGPASSWORD"),
        (json!(["env", "MYSQL_PWD=geheim", "mysql"]), "MYSQL_PWD"),
        (json!(["-c", "exec redis-server --requirepass geheim"]), "--requirepass"),
        (json!(["redis-cli", "-a", "geheim", "ping"]), "-a"),
        (json!(["redis-cli", "-a", "$geheim", "ping"]), "-a"),
        (json!(["/usr/bin/redis-cli", "-h", "127.0.0.1", "-p", "6379", "-a", "geheim"]), "-a"),
        (json!(["timeout", "5", "redis-cli", "-a", "geheim", "ping"]), "-a"),
        (json!(["valkey-cli", "-a", "geheim", "ping"]), "-a"),
        (json!(["keydb-cli", "-a", "geheim", "ping"]), "-a"),
        (json!(["sh", "-c", "redis-cli -a geheim ping"]), "-a"),
        (json!(["sh", "-c", "redis-cli -h 127.0.0.1 -a geheim ping"]), "-a"),
        (json!(["sh", "-c", "redis-cli -p 6379 -a geheim ping"]), "-a"),
        (json!(["sh", "-c", "redis-cli -a '$geheim' ping"]), "-a"),
        (json!(["sh", "-c", "redis-cli AUTH geheim"]), "auth"),
        (json!(["sh", "-c", "redis-cli config set requirepass geheim"]), "requirepass"),
        (json!(["sh", "-c", "redis-cli ACL SETUSER app on '>geheim'"]), "a user's password"),
        (json!(["sh", "-c", "echo AUTH geheim | nc 127.0.0.1 6379"]), "AUTH"),
        (json!(["sh", "-c", "echo requirepass geheim >> /etc/redis.conf; exec redis-server"]), "requirepass"),
        (json!(["sh", "-c", "printf 'sentinel auth-pass main geheim' >> s.conf"]), "auth-pass"),
        (json!(["mysqladmin", "-pgeheim", "ping"]), "-p"),
        (json!(["sh", "-c", "exec mysql -uroot -p'geheim' -e 'SELECT 1'"]), "-p"),
        (json!(["sh", "-c", "mysqladmin ping -h localhost -u root -pgeheim"]), "-p"),
        (json!(["sh", "-c", "mysql -u root -pgeheim -e 'SELECT 1'"]), "-p"),
        (json!(["sh", "-c", "if ! mariadb-admin ping -h 127.0.0.1 -pgeheim; then exit 1; fi"]), "-p"),
        (json!(["sh", "-c", "a || (mysqldump -u root -pgeheim x | gzip)"]), "-p"),
        (json!(["bash", "-ec", "mysql -p\\$geheim"]), "-p"),
        (json!(["bash", "-c", "su mysql -c \"mysql -pgeheim\""]), "-p"),
        (json!(["mariabackup", "--backup", "--password=geheim"]), "--password"),
        (json!(["mongosh", "-u", "root", "-p", "geheim"]), "-p"),
        (json!(["mongodump", "-pgeheim"]), "-p"),
        (json!(["curl", "-u", "u:geheim", "http://x"]), "-u"),
        (json!(["curl", "-uu:geheim", "http://x"]), "-u"),
        (json!(["curl", "--user", "u:geheim", "http://x"]), "--user"),
        (json!(["curl", "-H", "Authorization: Bearer geheim", "http://x"]), "a token"),
        (json!(["curl", "-H", "Authorization: Basic geheim", "http://x"]), "Authorization"),
        (json!(["curl", "-H", "X-Api-Key: geheim", "http://x"]), "X-Api-Key"),
        (json!(["curl", "-d", "{\"password\":\"geheim\"}", "http://x"]), "password"),
        (json!(["wget", "--header=Authorization: Bearer geheim", "http://x"]), "a token"),
        (json!(["wget", "--http-password=geheim", "http://x"]), "--http-password"),
        (json!(["wget", "http://u:geheim@host/"]), "an address with a password"),
        (json!(["sqlcmd", "-S", ".", "-U", "sa", "-P", "geheim"]), "-P"),
        (json!(["cqlsh", "-u", "cassandra", "-p", "geheim"]), "-p"),
        (json!(["nodetool", "-u", "x", "-pw", "geheim", "status"]), "-pw"),
        (json!(["sqlplus", "-s", "scott/geheim@orcl"]), "an address with a password"),
        (json!(["sshpass", "-pgeheim", "ssh", "x"]), "-p"),
        (json!(["ldapwhoami", "-D", "cn=x", "-w", "geheim"]), "-w"),
        (json!(["etcdctl", "--user", "root:geheim", "endpoint", "health"]), "--user"),
        (json!(["openssl", "rsa", "-passin", "pass:geheim"]), "-passin"),
        (json!(["rabbitmqctl", "add_user", "app", "geheim"]), "add_user"),
        (json!(["mc", "alias", "set", "s3", "http://minio", "user", "geheim"]), "set"),
        (json!(["sh", "-c", "echo root:geheim | chpasswd"]), "chpasswd"),
        (json!(["psql", "-c", "ALTER USER app PASSWORD 'geheim'"]), "the password of a statement"),
        (json!(["sh", "-c", "psql <<E\nCREATE ROLE x PASSWORD 'geheim';\nE"]), "the password of a statement"),
        (json!(["mysql", "-e", "CREATE USER x IDENTIFIED BY 'geheim'"]), "the password of a statement"),
        (json!(["psql", "host=db user=app password=geheim"]), "password"),
        (json!(["psql", "postgres://app:geheim@db/app"]), "an address with a password"),
        (json!(["mysqld_exporter", "--dsn=root:geheim@(localhost:3306)/"]), "an address with a password"),
        (
            json!(["java", "-Djavax.net.ssl.keyStorePassword=geheim", "-jar", "x.jar"]),
            "-Djavax.net.ssl.keyStorePassword",
        ),
        (json!(["sh", "-c", "PW=${DB_PASSWORD:-geheim} exec x"]), "DB_PASSWORD"),
        (json!(["sh", "-c", "export PASSWORD='geheim'; exec x"]), "PASSWORD"),
    ] {
        for container in places(&words) {
            assert_eq!(hides(&container), [what], "{container}");
        }
    }
    // Of one command, a part of which stands in each field.
    assert_eq!(hides(&json!({"command": ["redis-cli"], "args": ["-h", "x", "-a", "geheim"]})), ["-a"]);
    assert_eq!(hides(&json!({"command": ["mysqladmin"], "args": ["ping", "-pgeheim"]})), ["-p"]);
}

#[test]
fn commands_that_hold_none_are_recorded_in_every_place() {
    for words in [
        json!(["--appendonly", "yes", "--requirepass", "$(REDIS_PASSWORD)"]),
        json!(["--requirepass", "", "--appendonly", "yes"]),
        json!(["redis-server", "/etc/redis/redis.conf", "--tls-auth-clients", "no", "--tls-key-file", "/tls/tls.key"]),
        json!(["redis-cli", "-h", "127.0.0.1", "-p", "6379", "ping"]),
        json!(["sh", "-c", "redis-cli -a \"$REDIS_PASSWORD\" ping"]),
        json!(["sh", "-c", "redis-cli -a $(cat /run/secrets/redis) ping"]),
        json!(["sh", "-c", "redis-cli -a '$(REDIS_PASSWORD)' ping"]),
        json!(["sh", "-c", "pw=$(cat /run/pw); mysql -uroot -p$pw -e 'SELECT 1'"]),
        json!(["sh", "-c", "exec redis-server --requirepass \"$REDIS_PASSWORD\" --appendonly yes"]),
        json!(["sh", "-c", "test -n \"${REDIS_PASSWORD}\" && echo the password is set"]),
        json!(["sh", "-c", "[ \"$PASSWORD\" = \"\" ] || exit 1"]),
        json!(["sh", "-c", "MYSQL_PWD=$MARIADB_ROOT_PASSWORD exec mariadb-admin --user=root --host=127.0.0.1 ping"]),
        json!(["mysqladmin", "-uroot", "-p$MYSQL_ROOT_PASSWORD", "ping"]),
        json!(["mysqladmin", "-u", "root", "-p${MYSQL_ROOT_PASSWORD}", "-P", "3306", "ping"]),
        json!(["mysql", "-h", "redis-master", "-P3306", "-e", "SELECT 1"]),
        json!([
            "mysqld",
            "--secure-file-priv=/x",
            "--ssl-key=/etc/tls/key.pem",
            "--key-buffer-size=32M",
            "--port=3306"
        ]),
        json!(["mysqld", "--validate-password-policy=LOW", "--default-password-lifetime=0", "--foreign-key-checks=0"]),
        json!(["mariadbd", "--file-key-management-filename=/etc/mysql/keys.enc", "--log-bin=binlog"]),
        json!(["pg_isready", "--port=5432", "-p", "5432", "-U", "postgres", "-d", "dbname=app"]),
        json!(["psql", "--no-password", "app"]),
        json!(["postgres", "-c", "password_encryption=scram-sha-256", "-c", "ssl_key_file=/etc/tls/tls.key"]),
        json!(["postgres", "-c", "archive_command=test ! -f /a/%f && cp %p /a/%f", "-c", "log_line_prefix=%m [%p] "]),
        json!(["-c", "config_file=/etc/postgresql.conf"]),
        json!(["mongod", "--auth", "--keyFile", "/etc/mongo/keyfile", "--bind_ip_all"]),
        json!(["mongosh", "--quiet", "--eval", "db.adminCommand('ping')"]),
        json!(["curl", "-fsS", "-u", "$USER:$PASSWORD", "http://localhost:9200/_cluster/health"]),
        json!(["curl", "-u", "elastic:$(ELASTIC_PASSWORD)", "https://localhost:9200"]),
        json!(["sh", "-c", "curl -fsS -u \"$U:$P\" -H \"Authorization: Bearer $TOKEN\" http://localhost/"]),
        json!(["sqlplus", "/", "as", "sysdba", "@/opt/check.sql"]),
        json!(["etcdctl", "--cert", "/tls/c.pem", "--key", "/tls/k.key", "endpoint", "health"]),
        json!(["openssl", "rsa", "-passin", "env:KEY_PASS", "-in", "/tls/k.key"]),
        json!(["sh", "-c", "trap 'kill $!' TERM; sleep 5 & wait $!"]),
        json!(["sh", "-c", "sort -k 2 x | awk '{print $1}'"]),
        json!(["wait-for", "postgres:5432", "--", "app"]),
        json!(["docker-entrypoint.sh", "cassandra", "-f"]),
        json!(["java", "-XX:+UseG1GC", "-Dauthenticator=PasswordAuthenticator", "-jar", "/app/x.jar"]),
    ] {
        for container in places(&words) {
            keeps(&container);
        }
    }
}

#[test]
fn requests_of_probes_and_hooks_hide_their_secrets() {
    let places = ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let with = |place: &str, asked: &Value| match place.strip_prefix("/lifecycle/") {
        Some(hook) => json!({"lifecycle": {hook: {"httpGet": asked}}}),
        None => json!({&place[1..]: {"httpGet": asked}}),
    };
    for (asked, what) in [
        (
            json!({"port": 1, "httpHeaders": [{"name": "Authorization", "value": "Bearer geheim"}]}),
            "header Authorization",
        ),
        (json!({"port": 1, "httpHeaders": [{"name": "authorization", "value": "geheim"}]}), "header authorization"),
        (json!({"port": 1, "httpHeaders": [{"name": "X-Api-Key", "value": "geheim"}]}), "header X-Api-Key"),
        (json!({"port": 1, "httpHeaders": [{"name": "X-Vault-Token", "value": "geheim"}]}), "header X-Vault-Token"),
        (json!({"port": 1, "httpHeaders": [{"name": "Cookie", "value": "session=geheim"}]}), "header Cookie"),
        (json!({"port": 1, "httpHeaders": [{"name": "X", "value": "Bearer geheim"}]}), "header X"),
        (json!({"port": 1, "path": "/health?token=geheim"}), "token in a path"),
    ] {
        for place in places {
            assert_eq!(hides(&with(place, &asked)), [what]);
        }
    }
    let harmless = json!({"port": 1, "path": "/health?local=true", "httpHeaders": [{"name": "Host", "value": "db.example"},
        {"name": "Accept", "value": "application/json"}, {"name": "X-Forwarded-Proto", "value": "https"}]});
    for place in places {
        keeps(&with(place, &harmless));
    }
}

#[test]
fn init_containers_bare_pods_and_volumes_are_looked_at() {
    let mut pod = json!({"kind": "Pod", "spec": {
        "initContainers": [{"name": "init", "env": [{"name": "PGPASSWORD", "value": "geheim"}]}],
        "containers": [{"name": "db", "args": ["--requirepass", "geheim"]}],
        "volumes": [{"name": "share", "csi": {"driver": "x", "volumeAttributes": {"password": "geheim", "share": "/x"}}},
            {"name": "old", "flexVolume": {"driver": "x", "options": {"source": "https://u:geheim@h/x", "fsType": "cifs"}}}]}});
    let found = withhold(&mut pod);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let expected = [
        "password of volume share",
        "source of volume old",
        "PGPASSWORD of container init",
        "--requirepass of container db",
    ];
    assert_eq!(found, expected);
    assert!(!pod.to_string().contains("geheim"));
    assert_eq!(pod["spec"]["volumes"][0]["csi"]["volumeAttributes"], json!({"share": "/x"}));
}

#[test]
fn config_maps_that_hold_a_secret_are_known() {
    for (key, text, what) in [
        ("redis.conf", "port 6379\nrequirepass geheim\n", "requirepass"),
        ("redis.conf", "requirepass \"geheim\"", "requirepass"),
        ("redis.conf", "masterauth geheim", "masterauth"),
        ("redis.conf", "user app on >geheim ~* +@all", "user"),
        ("sentinel.conf", "sentinel auth-pass main geheim", "sentinel"),
        ("my.cnf", "[client]\nuser=root\npassword=geheim\n", "password"),
        ("my.cnf", "[client]\npassword = \"geheim\"\n", "password"),
        ("userlist.txt", "\"app\" \"geheim\"\n\"other\" \"x\"", "a user's password"),
        ("lines.txt", "db:5432:*:app:geheim", "a user's password"),
        (".pgpass", "db:5432:*:app:geheim", ".pgpass"),
        ("pgbouncer.ini", "app = host=db user=app password=geheim", "password"),
        ("init.sql", "CREATE ROLE app LOGIN PASSWORD 'geheim';", "the password of a statement"),
        ("init.sql", "CREATE USER 'app'@'%' IDENTIFIED BY 'geheim';", "the password of a statement"),
        ("postgresql.conf", "primary_conninfo = 'host=a user=rep password=geheim'", "password"),
        ("application.yaml", "spring:\n  datasource:\n    password: geheim\n", "password"),
        ("application.properties", "spring.datasource.password=geheim", "spring.datasource.password"),
        ("haproxy.cfg", "  stats auth admin:geheim", "stats"),
        ("haproxy.cfg", "  user admin insecure-password geheim", "user"),
        ("users.xml", "<password>geheim</password>", "password"),
        ("health.sh", "#!/bin/sh\nredis-cli -h x -a geheim ping\n", "-a"),
        ("health", "#!/bin/bash\nmysqladmin ping -u root -pgeheim\n", "-p"),
        ("PASSWORD", "geheim", "PASSWORD"),
        ("DATABASE_URL", "postgres://app:geheim@db/app", "an address with a password"),
        ("tls.key", "-----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY-----", "a private key"),
        ("users", "app:$apr1$abcdefgh$0123456789geheimgeheim", "the hash of a password"),
        ("users", "app = md50123456789abcdef0123456789abcdef # geheim", "the hash of a password"),
    ] {
        assert_eq!(of_config_map(&json!({"data": {key: text}})), [format!("{what} in {key}")], "{text}");
    }
    let binary = json!({"binaryData": {"a.cnf": "cGFzc3dvcmQ9Z2VoZWlt", "b.jks": "/u3+7Q==", "c.bin": "/u3+7Q=="}});
    assert_eq!(of_config_map(&binary), ["password in a.cnf", "a key in b.jks"]);
}

#[test]
fn config_maps_that_hold_none_are_recorded() {
    let health = "#!/bin/bash\n[[ -f $REDIS_PASSWORD_FILE ]] && export REDIS_PASSWORD=\"$(< \"${REDIS_PASSWORD_FILE}\")\"\n\
        [[ -n \"$REDIS_PASSWORD\" ]] && export REDISCLI_AUTH=\"$REDIS_PASSWORD\"\nresponse=$(\n  timeout -s 15 $1 \\\n  redis-cli \\\n\
        -h localhost \\\n  -p $REDIS_PORT \\\n  ping\n)\nif [ \"$response\" != \"PONG\" ]; then\n  echo \"$response\"\n  exit 1\nfi\n";
    let start = "#!/bin/bash\nARGS=(\"--port\" \"${REDIS_PORT}\")\nARGS+=(\"--requirepass\" \"${REDIS_PASSWORD}\")\n\
        ARGS+=(\"--masterauth\" \"${REDIS_PASSWORD}\")\nexec redis-server \"${ARGS[@]}\"\n";
    let init = "#!/bin/bash\nset -e\npsql -v ON_ERROR_STOP=1 --username \"$POSTGRES_USER\" --dbname \"$POSTGRES_DB\" <<-EOSQL\n\
        CREATE USER app PASSWORD '$APP_PASSWORD';\nEOSQL\n";
    for (key, text) in [
        (
            "redis.conf",
            "port 6379\nappendonly yes\n# requirepass foobared\n# masterauth <master-password>\ntls-auth-clients no\n",
        ),
        ("redis.conf", "requirepass \"\"\nuser default on nopass ~* +@all\nnotify-keyspace-events \"\"\n"),
        (
            "my.cnf",
            "[mysqld]\nkey_buffer_size=32M\ndefault_authentication_plugin=mysql_native_password\n#password=x\npassword=\n",
        ),
        ("my.cnf", "[mariadbd]\nmax_connections=77\nssl_key=/etc/tls/key.pem\nvalidate_password_policy = LOW\n"),
        (
            "postgresql.conf",
            "password_encryption = scram-sha-256\nssl_key_file = 'server.key'\n#ssl_passphrase_command = ''\n",
        ),
        ("pg_hba.conf", "local all all trust\nhost all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 password\n"),
        (
            "pgbouncer.ini",
            "auth_type = scram-sha-256\nauth_file = /etc/pgbouncer/userlist.txt\nauth_query = SELECT usename, passwd FROM pg_shadow WHERE usename=$1\n",
        ),
        ("mongod.conf", "security:\n  authorization: enabled\n  keyFile: /etc/mongo/keyfile\n"),
        ("prometheus.yaml", "pg_up:\n  query: \"SELECT 1\"\n  metrics:\n  - up: {usage: GAUGE, description: up}\n"),
        ("values.yaml", "existingSecret: pg\nsecretName: pg-tls\npasswordSecretRef:\n  name: pg\n  key: password\n"),
        ("nginx.conf", "user  nginx;\nserver { listen 80; proxy_set_header Authorization $http_authorization; }\n"),
        ("cassandra.yaml", "authenticator: PasswordAuthenticator\nnum_tokens: 256\n"),
        ("health.sh", health),
        ("start-master.sh", start),
        ("init.sh", init),
        ("ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        ("POSTGRES_DB", "app"),
        ("LOG_LEVEL", "info"),
        ("schema.sql", "CREATE TABLE users (id int, password text NOT NULL, token text, PRIMARY KEY (id));\n"),
    ] {
        assert_eq!(of_config_map(&json!({"data": {key: text}})), Vec::<String>::new(), "{text}");
    }
    assert_eq!(of_config_map(&json!({})), Vec::<String>::new());
}

/// Some are commands, as lists of words.
#[test]
fn annotations_are_looked_into() {
    for value in [
        "[\"mysql\", \"-pgeheim\"]",
        "redis-cli -h x -a geheim save",
        "{\"password\": \"geheim\"}",
        "https://u:geheim@x",
    ] {
        assert!(is_in_annotation(value), "{value}");
    }
    for value in
        ["[\"/sbin/fsfreeze\", \"--freeze\", \"/data\"]", "[1, 2]", "app, other", "0.0.0.0/0", "nlb-ip", "a: b"]
    {
        assert!(!is_in_annotation(value), "{value}");
    }
}
