#!/usr/bin/env bash
# Stands in for the AWS CLI, as far as a runbook uses it. What there is are files in $WORLD: tables/NAME with the backup that
# it was made from, backups/NAME, recovers/NAME. fails/OPERATION-NAME has the error that an operation on a table ends with;
# new/NAME is a table that cannot be backed up yet.
echo "aws $*" >> "$WORLD/calls"
service=$1 operation=$2 table= target= query= backup=
shift 2
while [ $# -gt 0 ]; do
  case "$1" in
    --table-name) table=$2 ;;
    --source-table-name) table=$2 ;;
    --target-table-name) target=$2 ;;
    --query) query=$2 ;;
    --backup-arn) backup=$2 ;;
  esac
  shift
done
fail() { echo "An error occurred ($1) when calling the $operation operation" >&2; exit 254; }
there() { [ -e "$WORLD/tables/$1" ] || fail ResourceNotFoundException; }
make() { [ -e "$WORLD/tables/$1" ] && fail TableAlreadyExistsException; echo "$2" > "$WORLD/tables/$1"; touch "$WORLD/new/$1"; }
# Once only: then it answers.
young() { rm "$WORLD/new/$1" 2>/dev/null && fail ContinuousBackupsUnavailableException; }
failure="$WORLD/fails/$operation-${target:-$table}"
[ -e "$failure" ] && fail "$(cat "$failure")"
case "$operation" in
  list-tables) ls "$WORLD/tables" | tr '\n' '\t' ;;
  describe-table)
    there "$table"
    case "$query" in
      Table.TableStatus) echo ACTIVE ;;
      Table.RestoreSummary.SourceBackupArn) cat "$WORLD/tables/$table" ;;
      *) echo "{\"settings of\": \"$table\"}" ;;
    esac ;;
  restore-table-to-point-in-time) there "$table"; make "$target" None ;;
  create-backup) there "$table"; young "$table"; touch "$WORLD/backups/$table" ;;
  list-backups)
    case "$query" in
      *BackupArn*) if [ -e "$WORLD/backups/$table" ]; then echo "arn:$table"; else echo None; fi ;;
      *) [ -e "$WORLD/backups/$table" ] && echo AVAILABLE ;;
    esac ;;
  delete-table) there "$table"; rm "$WORLD/tables/$table" ;;
  restore-table-from-backup) make "$target" "$backup" ;;
  update-continuous-backups) there "$table"; young "$table"; touch "$WORLD/recovers/$table" ;;
  describe-continuous-backups) if [ -e "$WORLD/recovers/$table" ]; then echo ENABLED; else echo DISABLED; fi ;;
  *) echo '{}' ;;
esac
exit 0
