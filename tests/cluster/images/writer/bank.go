package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The bank: writers that move money between two databases, half of them in each direction. A transfer is debited in
// one, then credited in the other, then counted in Redis, then acknowledged: each step is the cause of the next, and
// is begun once the one before was answered.
//
// Tables of both databases: `accounts (id, balance)`, and `moves (transfer, amount, begun)` with what each transfer
// changed here. Redis: the set `counted` of transfers, and their number in `count`. The transfers of writer W are
// W*1000000000 + 1, + 2, ...: the even writers debit in the first database.
const (
	accounts   = 64
	balance    = 1000000
	perWriter  = 1000000000
	retryAfter = 50 * time.Millisecond
)

// branch is one database of the bank. A move that is repeated changes nothing.
type branch interface {
	move(ctx context.Context, transfer, amount, begun, account int64) error
}

type bank struct {
	branches [2]branch
	redis    *redis.Client
	patience time.Duration
	lock     sync.Mutex // of acks
	acks     *journal
}

// runBank never returns. A bank is opened once: what was in flight when an earlier process died is not known.
func runBank() {
	writers, err := strconv.Atoi(env("BANK_WRITERS", "8"))
	if err != nil {
		log.Fatal(err)
	}
	acks, err := openJournal(env("LOG_FOLDER", "/log"))
	if err != nil {
		log.Fatal(err)
	}
	if acks.next != 1 {
		log.Fatal("this bank was open before")
	}
	b := &bank{acks: acks, patience: duration("WRITE_TIMEOUT", 30*time.Second)}
	for i, name := range []string{"A", "B"} {
		kind := os.Getenv("BRANCH_" + name)
		source, err := source(kind, env("BRANCH_"+name+"_SERVICE", kind), os.Getenv("BRANCH_"+name+"_PASSWORD"))
		if err != nil {
			log.Fatal(err)
		}
		b.branches[i] = b.open(kind, source, writers)
	}
	address := serviceAddress("redis")
	b.redis = redis.NewClient(&redis.Options{Addr: address, Password: os.Getenv("REDIS_PASSWORD"), PoolSize: writers,
		ContextTimeoutEnabled: true, ReadTimeout: -1, WriteTimeout: -1, MaxRetries: -1})
	pause := duration("WRITE_INTERVAL", 0)
	for w := range int64(writers) {
		go b.write(w, pause)
	}
	select {}
}

// open makes the tables when they are missing.
func (b *bank) open(kind, source string, writers int) branch {
	driver, ignore := kind, "INSERT INTO accounts VALUES %s ON CONFLICT DO NOTHING"
	if kind == "mariadb" {
		driver, ignore = "mysql", "INSERT IGNORE INTO accounts VALUES %s"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(writers)
	db.SetMaxIdleConns(writers)
	rows := ""
	for account := range accounts {
		rows += fmt.Sprintf(", (%d, %d)", account, balance)
	}
	for _, statement := range []string{
		"CREATE TABLE IF NOT EXISTS accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
		"CREATE TABLE IF NOT EXISTS moves (transfer BIGINT PRIMARY KEY, amount BIGINT NOT NULL, begun BIGINT NOT NULL)",
		fmt.Sprintf(ignore, rows[2:]),
	} {
		b.until("open "+kind, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, statement)
			return err
		})
	}
	if kind == "mariadb" {
		return mariadbBranch{db}
	}
	var move *sql.Stmt
	b.until("prepare "+kind, func(ctx context.Context) error {
		move, err = db.PrepareContext(ctx, `WITH moved AS (INSERT INTO moves VALUES ($1, $2, $3)
			ON CONFLICT DO NOTHING RETURNING amount)
			UPDATE accounts SET balance = balance + moved.amount FROM moved WHERE id = $4`)
		return err
	})
	return postgresBranch{move}
}

// until tries a step until it is done: an answer that was lost does not tell whether it is, and each may be repeated.
func (b *bank) until(what string, step func(ctx context.Context) error) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), b.patience)
		err := step(ctx)
		cancel()
		if err == nil {
			return
		}
		log.Printf("%s: %v", what, err)
		time.Sleep(retryAfter)
	}
}

const count = `if redis.call('SADD', 'counted', ARGV[1]) == 1 then redis.call('INCR', 'count') end`

func (b *bank) write(w int64, pause time.Duration) {
	from, to := b.branches[w%2], b.branches[1-w%2]
	for n := int64(1); ; n++ {
		transfer, amount := w*perWriter+n, 1+n%100
		begin := time.Now()
		b.until("debit", func(ctx context.Context) error {
			return from.move(ctx, transfer, -amount, begin.UnixNano(), (w+n)%accounts)
		})
		b.until("credit", func(ctx context.Context) error {
			return to.move(ctx, transfer, amount, begin.UnixNano(), (w+7*n)%accounts)
		})
		b.until("count", func(ctx context.Context) error {
			err := b.redis.Eval(ctx, count, []string{"counted", "count"}, transfer).Err()
			if err == redis.Nil {
				return nil
			}
			return err
		})
		end := time.Now()
		b.lock.Lock()
		err := b.acks.add(transfer, begin, end)
		b.lock.Unlock()
		if err != nil {
			log.Fatal(err)
		}
		time.Sleep(pause)
	}
}

// One statement, which is a transaction of its own.
type postgresBranch struct{ statement *sql.Stmt }

func (p postgresBranch) move(ctx context.Context, transfer, amount, begun, account int64) error {
	_, err := p.statement.ExecContext(ctx, transfer, amount, begun, account)
	return err
}

type mariadbBranch struct{ db *sql.DB }

func (m mariadbBranch) move(ctx context.Context, transfer, amount, begun, account int64) error {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	done, err := tx.ExecContext(ctx, "INSERT IGNORE INTO moves VALUES (?, ?, ?)", transfer, amount, begun)
	if err != nil {
		return err
	}
	if changed, err := done.RowsAffected(); err != nil || changed == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + ? WHERE id = ?", amount, account); err != nil {
		return err
	}
	return tx.Commit()
}
