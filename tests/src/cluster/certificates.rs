//! Keys and certificates of one control plane: a fresh authority for each, valid for its life.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// An authority, and the directory where everything that it signed lies as PEM files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one; its own certificate is `ca.crt`.
    pub fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the tests' authority");
        let own = params.self_signed(&key).expect("a certificate can be signed");
        write(&directory.join("ca.crt"), &own.pem());
        Self {
            issuer: Issuer::new(params, key),
            directory: directory.to_owned(),
        }
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// A server's certificate for these names and addresses.
    pub fn server(&self, file: &str, names: &[&str]) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("the names are names or addresses");
        self.sign(file, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate: Kubernetes takes the common name for the user and the organisation for the group.
    pub fn client(&self, file: &str, user: &str, group: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.sign(file, params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A key that signs tokens: the certificate is the bare public key here.
    pub fn token_key(&self, file: &str) -> Identity {
        let key = KeyPair::generate().expect("a key can be made");
        self.save(file, &key.public_key_pem(), &key)
    }

    fn sign(&self, file: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate can be signed");
        self.save(file, &signed.pem(), &key)
    }

    fn save(&self, file: &str, public: &str, key: &KeyPair) -> Identity {
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        write(&identity.certificate, public);
        write(&identity.key, &key.serialize_pem());
        identity
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
}
