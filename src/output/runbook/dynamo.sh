WAIT=20  # seconds between two tries
# again COMMAND: again while the service is busy, or a new table has no backups yet; not for ever, and not for else.
again() {
  local try said
  for try in {1..30}; do
    said=$("$@" 2>&1) && return 0
    case "$said" in
      *ContinuousBackupsUnavailable* | *LimitExceeded* | *Throttl* | *InUse*) sleep "$WAIT" ;;
      *) break ;;
    esac
  done
  echo "FAILED: $*: $said" >&2
  return 1
}
# backup_of TABLE: the one backup of the first hop that can be restored from, also when its table is gone.
backup_of() {
  local backup
  backup=$(aws dynamodb list-backups --region "$REGION" --table-name "$1-$RUN" --output text \
    --query "sort_by(BackupSummaries[?BackupStatus=='AVAILABLE'], &BackupArn)[0].BackupArn")
  case "$backup" in
    *[[:space:]]*) ;;
    arn:*) echo "$backup" ;;
  esac
}
# state_of TABLE: its state, or the words of the service.
state_of() {
  aws dynamodb describe-table --region "$REGION" --table-name "$1" --query Table.TableStatus --output text 2>&1
}
# is_from TABLE BACKUP: whether the table was made from this backup.
is_from() {
  [ "$(aws dynamodb describe-table --region "$REGION" --table-name "$1" --output text \
    --query Table.RestoreSummary.SourceBackupArn 2>/dev/null)" = "$2" ]
}
# made TABLE: waits for as long as it is being made; one that is not is given up soon.
made() {
  local try=0 state
  while [ "$try" -lt 5 ]; do
    state=$(state_of "$1")
    case "$state" in
      ACTIVE) return 0 ;;
      CREATING) try=0 ;;
      *) try=$((try + 1)) ;;
    esac
    sleep "$WAIT"
  done
  echo "$1 is NOT made: $state" >&2
  return 1
}
# gone TABLE: waits for as long as it is being deleted; one that is not is given up soon.
gone() {
  local try=0 state
  while [ "$try" -lt 5 ]; do
    state=$(state_of "$1")
    case "$state" in
      *ResourceNotFound*) return 0 ;;
      DELETING) try=0 ;;
      *) try=$((try + 1)) ;;
    esac
    sleep "$WAIT"
  done
  echo "$1 is still there: $state" >&2
  return 1
}
# keep FILE COMMAND: what the command says, once: later it would be said of another table.
keep() {
  [ -s "$1" ] || "${@:2}" > "$1"
}
