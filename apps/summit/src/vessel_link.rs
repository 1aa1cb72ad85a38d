//! The connection to Vessel: made when it is needed, and made anew when Vessel moved or was restarted.

use wire::WireError;
use wire::tonic::transport::Channel;
use wire::vessel::vessel_client::VesselClient;

use crate::config::VesselConfig;
use crate::hub::Hub;

/// A client of Vessel, with what the configuration said of Vessel when it was made.
#[derive(Debug, Default)]
pub(crate) struct VesselLink {
    known: Option<(VesselConfig, VesselClient<Channel>)>,
}

impl VesselLink {
    /// A client of the Vessel that the configuration names now.
    pub(crate) async fn client(&mut self, hub: &Hub) -> Result<VesselClient<Channel>, WireError> {
        let vessel = hub.config().vessel.clone();
        if let Some((known, client)) = &self.known
            && *known == vessel
        {
            return Ok(client.clone());
        }
        let channel = wire::connect(&vessel.address, vessel.public_key, &hub.identity).await?;
        let client =
            VesselClient::new(channel).max_decoding_message_size(wire::limits::MESSAGE_SIZE_BYTES_MAX);
        self.known = Some((vessel, client.clone()));
        Ok(client)
    }

    /// The next client gets a fresh connection.
    pub(crate) fn forget(&mut self) {
        self.known = None;
    }
}
