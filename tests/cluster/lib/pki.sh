# shellcheck shell=bash
# One CA signs the API server's certificate and those of all clients.

# sign NAME SUBJECT [EXTENSIONS] : $PKI/NAME.key and .crt
sign() {
  local name=$1 subject=$2 extensions=${3:-extendedKeyUsage=clientAuth}
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
    -keyout "$PKI/$name.key" -out "$PKI/$name.csr" 2>/dev/null
  openssl x509 -req -in "$PKI/$name.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
    -days 3650 -out "$PKI/$name.crt" -extfile <(echo "$extensions") 2>/dev/null
  rm "$PKI/$name.csr"
}

# kubeconfig NAME : on stdout, for the client certificate NAME
kubeconfig() {
  cat <<YAML
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: https://$NODE_IP:6443
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
    client-key-data: $(base64 -w0 "$PKI/$1.key")
contexts:
- name: test
  context: {cluster: test, user: $1}
current-context: test
YAML
}

make_pki() {
  [ ! -e "$RUN/admin.conf" ] || return 0
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=test-ca \
    -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
  sign server /CN=kube-apiserver \
    "subjectAltName=IP:127.0.0.1,IP:$NODE_IP,IP:$SERVICE_NET.1,DNS:localhost,DNS:kubernetes.default.svc"
  sign kubelet-client /CN=kube-apiserver-kubelet-client
  sign admin /O=system:masters/CN=admin
  openssl genrsa -out "$PKI/service-account.key" 2048 2>/dev/null
  (umask 077 && kubeconfig admin >"$RUN/admin.conf.new" && mv "$RUN/admin.conf.new" "$RUN/admin.conf")
}
