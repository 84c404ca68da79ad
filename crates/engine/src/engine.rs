//! The engine: a data directory, its topics, and the machines that run on it.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc};

use hanbeon_idempotence::{FirstWrite, Verification};
use hanbeon_log::{
    FsDir, LogError, ReadMode,
    sync::{AtomicBool, AtomicI64, Mutex, MutexGuard, Ordering, RwLock, thread::JoinHandle},
};
use hanbeon_meta::{
    ClusterRow, Image as Rows, LoggedSettings, LoggedStore, MetadataStore, StoreError, TxnResult,
    changes,
};
use hanbeon_records::{Millis, NodeId, ProducerEpoch, ProducerId, TopicId, TopicPartition};

use crate::{
    Env, Image, Metrics, OpenError, Options, PartitionError, PartitionHandle, ProducerIdError,
    Settings, System, Topic, TopicError,
    admin::Admin,
    adopt::Takeover,
    data_dir::{DataDir, LastHolder, LastStop},
    features,
    ground::{DueSyncs, Ground, Helpers},
    group_configs::Cluster,
    group_consumer::Seats,
    groups::{self, GroupShards},
    maintenance::{Upkeep, start_helpers},
    producer_ids::ProducerIds,
    transactions::{self, TxnShards},
};

/// An open data directory. Clones are the same engine; the last one to go shuts it down as [`Engine::shutdown`] does.
pub struct Engine<E: Env = System>(pub(crate) Arc<Owner<E>>);

/// What all clones share and helpers do not: when it goes, the engine shuts down.
pub(crate) struct Owner<E: Env> {
    pub(crate) shared: Arc<Shared<E>>,
}

/// What the engine is made of.
pub(crate) struct Shared<E: Env> {
    pub(crate) ground: Arc<Ground<E>>,
    pub(crate) image: RwLock<Arc<Image<E>>>,
    pub(crate) settings: Arc<RwLock<Settings>>,
    pub(crate) cluster: Arc<RwLock<Cluster>>,
    pub(crate) admin: Mutex<Admin<E>>,
    pub(crate) upkeep: Mutex<Upkeep>,
    /// Whether what a power cut left open on partitions and nobody will end is ended.
    pub(crate) swept: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) helpers: Mutex<Vec<JoinHandle<()>>>,
    /// Names of the appenders that are open.
    pub(crate) appenders: Mutex<BTreeSet<String>>,
    pub(crate) groups: GroupShards,
    /// The group consumers of this process.
    pub(crate) members: Seats,
    pub(crate) group_settings: hanbeon_group::Settings,
    /// For groups of the newer protocol; it looks at the settings and the cluster above.
    pub(crate) settings_of_groups: Arc<dyn hanbeon_group::consumer::SettingsOfGroups + Send + Sync>,
    /// When upkeep looks at groups again, by the clock that never goes back; `i64::MAX` for when it likes.
    pub(crate) wake_at: AtomicI64,
    pub(crate) txn: TxnShards,
    pub(crate) txn_settings: RwLock<hanbeon_txn::Settings>,
}

/// A producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Its id.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
}

/// The permission bit by which everybody on the machine may make, rename and remove files in a directory.
const WRITABLE_BY_ALL: u32 = 0o002;

impl Engine<System> {
    /// Opens, or makes, a data directory with [`Options::embedded`]: nothing is acknowledged before it survives a power cut.
    ///
    /// # Errors
    /// Another engine has it open, it is damaged, settings do not go together, or the storage fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Options::embedded())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |action| {
            move |source| OpenError::Io {
                dir: path.display().to_string(),
                action,
                source: Arc::new(source),
            }
        };
        let dir = FsDir::create(path, ReadMode::Map).map_err(failed("make the directory"))?;
        let mode = dir.permission_bits().map_err(failed("ask for its mode"))?;
        if let Some(found) = mode.filter(|mode| mode & WRITABLE_BY_ALL != 0) {
            return Err(OpenError::WritableByAll { dir: path.display().to_string(), found });
        }
        Self::open_in(System::new(), dir, options)
    }
}

impl<E: Env> Engine<E> {
    /// Opens the data directory `dir` in an environment of the caller's.
    ///
    /// Logs are opened when they are first touched, so that this returns soon whatever has to be recovered.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_in(env: E, dir: E::Dir, options: Options) -> Result<Self, OpenError> {
        let hash_seed = env.random();
        let node = options.node()?;
        let page_cache = env.page_cache(&dir);
        let data = DataDir::open(dir, node, page_cache, || env.random())?;
        let (dir, poison) = (data.dir.clone(), data.poison.clone());
        let store = LoggedStore::open_beside(dir, LoggedSettings::STANDARD, poison)
            .map_err(|error| metadata(&data, error))?;
        let store: Arc<dyn MetadataStore> = Arc::new(store);
        found(&*store, &data, &env)?;
        features::settle(&*store, &data)?;
        count_opening(&*store, &data)?;
        let first_sure_id = doubt_ids(&*store, &data)?;
        let verification = match options.flag("transaction.partition.verification.enable") {
            Some(false) => Verification::Off,
            Some(true) | None => Verification::On,
        };
        let ground = Arc::new(Ground {
            hash_seed,
            helpers: if options.helpers == 0 { Helpers::None } else { Helpers::Some },
            verification,
            first_write: FirstWrite::AnySequence,
            metrics: Arc::new(Metrics::default()),
            store: Arc::clone(&store),
            ids: ProducerIds::new(Arc::clone(&store)),
            first_sure_id,
            due: DueSyncs::new(),
            env,
            data,
        });
        let admin = Admin::new(Arc::clone(&ground), store, options.settings)
            .map_err(|error| metadata(&ground.data, error))?;
        admin.check_static_settings()?;
        clear_leftovers(&admin)?;
        let upkeep = Upkeep::new(&admin.settings(), ground.env.now());
        let settings = Arc::new(RwLock::new(admin.settings()));
        let cluster = Arc::new(RwLock::new(admin.cluster()));
        let settings_of_groups =
            groups::LiveSettings { broker: Arc::clone(&settings), cluster: Arc::clone(&cluster) };
        let shared = Arc::new(Shared {
            image: RwLock::new(Arc::new(admin.image())),
            settings,
            cluster,
            upkeep: Mutex::new(upkeep),
            swept: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            helpers: Mutex::new(Vec::new()),
            appenders: Mutex::new(BTreeSet::new()),
            members: Seats::default(),
            groups: groups::shards(options.state_logs.as_ref(), &admin.settings())?,
            group_settings: groups::settings(&admin.settings()),
            settings_of_groups: Arc::new(settings_of_groups),
            wake_at: AtomicI64::new(i64::MAX),
            txn: transactions::shards(options.state_logs.as_ref(), &admin.settings())?,
            txn_settings: RwLock::new(transactions::settings(
                &admin.settings(),
                admin.cluster().features,
            )),
            admin: Mutex::new(admin),
            ground,
        });
        shared.ground.data.take_clean_marker()?;
        let engine = Self(Arc::new(Owner { shared }));
        start_helpers(&engine.0.shared, options.helpers)?;
        Ok(engine)
    }

    /// What topics there are now.
    #[must_use]
    pub fn image(&self) -> Arc<Image<E>> {
        Arc::clone(&self.shared().image.read())
    }

    /// The topic called `name`.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<Topic<E>>> {
        self.shared().image.read().topic(name).cloned()
    }

    /// A partition by its topic's name.
    ///
    /// # Errors
    /// [`PartitionError::Unknown`].
    pub fn partition(
        &self,
        topic: &str,
        number: i32,
    ) -> Result<PartitionHandle<E>, PartitionError> {
        let of = |image: &Image<E>| image.topic(topic)?.partition(number).cloned();
        of(&self.shared().image.read())
            .ok_or_else(|| PartitionError::Unknown { topic: topic.to_owned(), partition: number })
    }

    /// A partition by its topic's identity.
    ///
    /// # Errors
    /// [`PartitionError::UnknownTopicId`] or [`PartitionError::Unknown`].
    pub fn partition_by_id(
        &self,
        id: TopicId,
        number: i32,
    ) -> Result<PartitionHandle<E>, PartitionError> {
        let topic = self.shared().image.read().topic_by_id(id).cloned();
        let topic = topic.ok_or(PartitionError::UnknownTopicId { id })?;
        topic.partition(number).cloned().ok_or_else(|| PartitionError::Unknown {
            topic: topic.name().to_string(),
            partition: number,
        })
    }

    /// The cluster's identity: 22 characters, the same for the life of the data directory.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.shared().ground.data.identity.cluster_id
    }

    /// This node's number.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared().ground.data.identity.node_id
    }

    /// The data directory, for people (`DescribeLogDirs`).
    #[must_use]
    pub fn data_dir(&self) -> String {
        use hanbeon_log::Dir;
        self.shared().ground.data.dir.display()
    }

    /// What failed when a write or sync of this data directory failed for the first time; nothing is taken since.
    #[must_use]
    pub fn storage_failure(&self) -> Option<LogError> {
        self.shared().ground.data.poison.first()
    }

    /// The broker settings that count now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared().settings.read().clone()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared().ground.metrics
    }

    /// The time of day of this engine's environment.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.shared().ground.env.now()
    }

    /// Its environment.
    #[must_use]
    pub fn env(&self) -> &E {
        &self.shared().ground.env
    }

    /// A fresh producer id with epoch 0 (`InitProducerId` without a transactional id).
    ///
    /// # Errors
    /// No block of ids could be reserved.
    pub fn init_producer_id(&self) -> Result<ProducerIdentity, ProducerIdError> {
        self.shared().ground.fresh_identity()
    }

    pub(crate) fn shared(&self) -> &Shared<E> {
        &self.0.shared
    }

    /// The right to change metadata.
    pub(crate) fn admin(&self) -> Result<MutexGuard<'_, Admin<E>>, TopicError> {
        let closed = || self.shared().closed.load(Ordering::Acquire);
        // Before the lock as well: the shutdown holds it, and may wake who asks for it at once.
        if closed() {
            return Err(TopicError::Closed);
        }
        let admin = self.shared().admin.lock();
        if closed() { Err(TopicError::Closed) } else { Ok(admin) }
    }

    /// Replaces the image by a changed one. Called by holders of the admin lock only, so that no change is lost.
    pub(crate) fn change_image(&self, admin: &Admin<E>, change: impl FnOnce(&mut Image<E>)) {
        let mut image = Image::clone(&self.image());
        change(&mut image);
        image.version = admin.version();
        *self.shared().image.write() = Arc::new(image);
    }

    pub(crate) fn publish_settings(&self, settings: Settings) {
        *self.shared().settings.write() = settings;
    }
}

pub(crate) fn metadata<D: hanbeon_log::Dir>(data: &DataDir<D>, error: StoreError) -> OpenError {
    OpenError::Metadata { dir: data.dir.display(), source: Arc::new(error) }
}

/// Founds the cluster in a directory that has no metadata of ours: a new one, or one that Kafka wrote.
fn found<E: Env>(
    store: &dyn MetadataStore,
    data: &DataDir<E::Dir>,
    env: &E,
) -> Result<(), OpenError> {
    let failed = |error| metadata(data, error);
    let rows = Rows::read(store).map_err(failed)?;
    let cluster_id = data.identity.cluster_id.clone();
    let takeover = Takeover { store, rows: &rows, data, env };
    match rows.cluster() {
        Some(cluster) if cluster.row.cluster_id == cluster_id => {
            return match data.last_holder {
                LastHolder::Kafka => takeover.catch_up(),
                LastHolder::Ours | LastHolder::Unknown => Ok(()),
            };
        }
        Some(cluster) => {
            return Err(OpenError::MetaProperties {
                dir: hanbeon_log::Dir::display(&data.dir),
                damage: crate::MetaPropertiesError::Value {
                    key: "cluster.id",
                    expected: "that of hanbeon.meta",
                    found: format!("{cluster_id} and {}", cluster.row.cluster_id),
                },
            });
        }
        None => {}
    }
    let first_id = takeover.adopt()?;
    let txn =
        changes::found_cluster(&ClusterRow { cluster_id }, &features::first_levels(), first_id);
    committed(store.commit(&txn).map_err(failed)?).map_err(failed)
}

/// One more opening: the leader epoch of every partition goes up by one.
fn count_opening<D: hanbeon_log::Dir>(
    store: &dyn MetadataStore,
    data: &DataDir<D>,
) -> Result<(), OpenError> {
    let failed = |error| metadata(data, error);
    let rows = Rows::read(store).map_err(failed)?;
    let result = store.commit(&changes::begin_opening(&rows)).map_err(failed)?;
    committed(result).map_err(failed)
}

/// After a power cut the epochs of all producer ids that were handed out are in doubt; the first that is not. It stands in the metadata and not in the stop
/// that is found: partitions go on knowing such an epoch when the directory was closed in order since.
fn doubt_ids<D: hanbeon_log::Dir>(
    store: &dyn MetadataStore,
    data: &DataDir<D>,
) -> Result<ProducerId, OpenError> {
    let failed = |error| metadata(data, error);
    let rows = Rows::read(store).map_err(failed)?;
    if data.last_stop == LastStop::Unclean
        && let Some(doubt) = changes::doubt_producer_ids(&rows)
    {
        committed(store.commit(&doubt).map_err(failed)?).map_err(failed)?;
        return Ok(Rows::read(store).map_err(failed)?.first_sure_producer_id());
    }
    Ok(rows.first_sure_producer_id())
}

/// Nobody else writes to the store of a locked directory, so a refusal is as bad as a failure.
pub(crate) fn committed(result: TxnResult) -> Result<(), StoreError> {
    match result {
        TxnResult::Committed(_) => Ok(()),
        TxnResult::Refused(_) => Err(StoreError::Poisoned),
        TxnResult::Unknown(error) => Err(error),
    }
}

/// Directories that no row knows; see [`DataDir::clear_leftover`].
fn clear_leftovers<E: Env>(admin: &Admin<E>) -> Result<(), OpenError> {
    let data = &admin.ground.data;
    for name in &data.partitions {
        let TopicPartition { topic, partition } = name;
        let known =
            admin.rows.topic(topic).is_some_and(|row| row.partitions.contains_key(partition));
        if known {
            continue;
        }
        data.clear_leftover(name, u128::from(admin.ground.env.random()))?;
    }
    Ok(())
}

impl<E: Env> Clone for Engine<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Env> fmt::Debug for Engine<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = &self.shared().ground.data;
        f.debug_struct("Engine").field("dir", &data.dir).finish_non_exhaustive()
    }
}
