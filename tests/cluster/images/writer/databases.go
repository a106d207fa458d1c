package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/lib/pq"
	"github.com/redis/go-redis/v9"
)

// serviceAddress finds the service's address in the variables that the kubelet gives to
// every pod of the namespace: the cluster has no DNS server.
func serviceAddress(service string) string {
	prefix := strings.ReplaceAll(strings.ToUpper(service), "-", "_")
	return net.JoinHostPort(os.Getenv(prefix+"_SERVICE_HOST"), os.Getenv(prefix+"_SERVICE_PORT"))
}

// source says how a SQL database of this kind is reached.
func source(kind, service, password string) (string, error) {
	user, name := os.Getenv("DB_USER"), os.Getenv("DB_NAME")
	switch kind {
	case "postgres":
		u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: serviceAddress(service), Path: name,
			RawQuery: "sslmode=disable&connect_timeout=3"}
		return u.String(), nil
	case "mariadb":
		c := mysql.NewConfig()
		c.User, c.Passwd, c.Net, c.Addr, c.DBName, c.InterpolateParams = user, password, "tcp", serviceAddress(service), name, true
		c.Timeout = 3 * time.Second // of a connect: one to a pod that is gone would else hang until the write's deadline
		return c.FormatDSN(), nil
	}
	return "", fmt.Errorf("%q is no SQL database: postgres, mariadb", kind)
}

func open(kind string) (database, error) {
	service, password := env("SERVICE", kind), os.Getenv("DB_PASSWORD")
	if kind == "redis" {
		return &redisDatabase{redis.NewClient(&redis.Options{Addr: serviceAddress(service), Password: password, PoolSize: 1,
			ContextTimeoutEnabled: true, ReadTimeout: -1, WriteTimeout: -1, MaxRetries: -1})}, nil
	}
	source, err := source(kind, service, password)
	if err != nil {
		return nil, fmt.Errorf("WRITER: %w", err)
	}
	if kind == "postgres" {
		return openSQL("postgres", source, "", "INSERT INTO writes VALUES ($1, $2)")
	}
	return openSQL("mysql", source, " ENGINE="+env("TABLE_ENGINE", "InnoDB"), "INSERT INTO writes VALUES (?, ?)")
}

type sqlDatabase struct {
	db             *sql.DB
	suffix, insert string
}

func openSQL(driver, source, suffix, insert string) (database, error) {
	db, err := sql.Open(driver, source)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return &sqlDatabase{db, suffix, insert}, err
}

func (d *sqlDatabase) prepare(ctx context.Context) (highest int64, err error) {
	table := "CREATE TABLE IF NOT EXISTS writes (n BIGINT PRIMARY KEY, client_time BIGINT NOT NULL)" + d.suffix
	if _, err = d.db.ExecContext(ctx, table); err != nil {
		return
	}
	err = d.db.QueryRowContext(ctx, "SELECT coalesce(max(n), 0) FROM writes").Scan(&highest)
	return
}

func (d *sqlDatabase) write(ctx context.Context, n, unixNano int64) error {
	_, err := d.db.ExecContext(ctx, d.insert, n, unixNano)
	return err
}

// redisDatabase keeps the list `writes` of "NUMBER TIME", and `counter`.
type redisDatabase struct{ client *redis.Client }

func (d *redisDatabase) prepare(ctx context.Context) (int64, error) {
	last, err := d.client.Get(ctx, "counter").Result()
	if err == redis.Nil {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(last, 10, 64)
}

func (d *redisDatabase) write(ctx context.Context, n, unixNano int64) error {
	_, err := d.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, "writes", fmt.Sprintf("%d %d", n, unixNano))
		p.Set(ctx, "counter", n, 0)
		return nil
	})
	return err
}
